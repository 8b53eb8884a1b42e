# Splits, one training job a fold, and what each trained model goes by.


rule split:
    input:
        trials=lambda wildcards: expand(
            "results/trials/{subject}.parquet", subject=PLAN.fold_subjects(wildcards)
        ),
    output:
        "results/splits/{labels}/{protocol}/{fold}.parquet",
    log:
        "results/logs/splits/{labels}/{protocol}/{fold}.log",
    benchmark:
        "results/benchmarks/splits/{labels}/{protocol}/{fold}.tsv"
    params:
        options=lambda wildcards: PLAN.split_json(wildcards),
        code=PLAN.code("milmer.training.splits"),
        trials=lambda wildcards, input: PLAN.listed("--trials", input.trials),
    shell:
        "milmer --log {log} split {wildcards.protocol} {wildcards.fold} {output}"
        " {params.trials} --options {params.options:q}"


rule train:
    input:
        split=lambda wildcards: PLAN.split_of(wildcards),
        segments=lambda wildcards: PLAN.segments_of(wildcards),
        tokens=lambda wildcards: PLAN.tokens_of(wildcards),
        faces=lambda wildcards: PLAN.faces_of(wildcards),
        backbone=lambda wildcards: PLAN.finetuned_files(wildcards),
    output:
        config="results/runs/{experiment}/{protocol}/{fold}/seed{seed}/model/config.json",
        card="results/runs/{experiment}/{protocol}/{fold}/seed{seed}/model/README.md",
        weights="results/runs/{experiment}/{protocol}/{fold}/seed{seed}/model/model.safetensors",
        predictions="results/runs/{experiment}/{protocol}/{fold}/seed{seed}/predictions.parquet",
        history="results/runs/{experiment}/{protocol}/{fold}/seed{seed}/history.parquet",
        metrics="results/runs/{experiment}/{protocol}/{fold}/seed{seed}/metrics.json",
    log:
        "results/logs/runs/{experiment}/{protocol}/{fold}/seed{seed}.log",
    benchmark:
        "results/benchmarks/runs/{experiment}/{protocol}/{fold}/seed{seed}.tsv"
    threads: lambda wildcards: PLAN.training(wildcards).threads
    resources:
        mem_mb=lambda wildcards: PLAN.train_memory(wildcards),
        gpu=lambda wildcards: PLAN.gpus(PLAN.training(wildcards).device),
    params:
        options=lambda wildcards: PLAN.train_json(wildcards.experiment),
        code=PLAN.code("milmer.training.loop"),
        device=lambda wildcards: PLAN.device(PLAN.training(wildcards).device),
        minutes=lambda wildcards: Aside(PLAN.training(wildcards).checkpoint_minutes),
        segments=lambda wildcards, input: PLAN.listed("--segments", input.segments),
        tokens=lambda wildcards, input: PLAN.listed("--tokens", input.tokens),
        faces=lambda wildcards, input: PLAN.listed("--faces", input.faces),
        backbone=lambda wildcards: PLAN.finetuned_name(wildcards),
        out=lambda wildcards, output: Path(output.metrics).parent,
    shell:
        "milmer --log {log} train --split {input.split} {params.out}"
        " {params.segments} {params.tokens} {params.faces} {params.backbone}"
        " --seed {wildcards.seed}"
        " {params.device}"
        " --checkpoint-minutes {params.minutes}"
        " --options {params.options:q}"


rule explain:
    input:
        metrics="results/runs/{experiment}/{protocol}/{fold}/seed{seed}/metrics.json",
        weights="results/runs/{experiment}/{protocol}/{fold}/seed{seed}/model/model.safetensors",
        split=lambda wildcards: PLAN.split_of(wildcards),
        segments=lambda wildcards: PLAN.segments_of(wildcards),
        tokens=lambda wildcards: PLAN.tokens_of(wildcards),
        faces=lambda wildcards: PLAN.faces_of(wildcards),
    output:
        "results/explanations/{experiment}/{protocol}/{fold}/seed{seed}.h5",
    log:
        "results/logs/explanations/{experiment}/{protocol}/{fold}/seed{seed}.log",
    benchmark:
        "results/benchmarks/explanations/{experiment}/{protocol}/{fold}/seed{seed}.tsv"
    threads: lambda wildcards: PLAN.training(wildcards).threads
    resources:
        mem_mb=4000,
        gpu=lambda wildcards: PLAN.gpus(PLAN.training(wildcards).device),
    params:
        options=lambda wildcards: PLAN.explain_json(wildcards),
        code=PLAN.code("milmer.evaluation.explain"),
        device=lambda wildcards: PLAN.device(PLAN.training(wildcards).device),
        segments=lambda wildcards, input: PLAN.listed("--segments", input.segments),
        tokens=lambda wildcards, input: PLAN.listed("--tokens", input.tokens),
        faces=lambda wildcards, input: PLAN.listed("--faces", input.faces),
        run=lambda wildcards, input: Path(input.metrics).parent,
    shell:
        "milmer --log {log} explain {params.run} {output} --split {input.split}"
        " {params.segments} {params.tokens} {params.faces}"
        " {params.device} --options {params.options:q}"
