# Splits, one training job a fold, scores and cards of all runs of an experiment under a protocol,
# and what each trained model goes by.


rule split:
    input:
        trials=lambda wildcards: expand(
            "results/trials/{subject}.parquet",
            subject=PLAN.training.fold_subjects(wildcards),
        ),
    output:
        "results/splits/{labels}/{protocol}/{fold}.parquet",
    log:
        "results/logs/splits/{labels}/{protocol}/{fold}.log",
    benchmark:
        "results/benchmarks/splits/{labels}/{protocol}/{fold}.tsv"
    params:
        options=lambda wildcards: PLAN.training.split_json(wildcards),
        code=PLAN.code("milmer.splits.splits"),
        trials=lambda wildcards, input: PLAN.file_arguments(input, "trials"),
    shell:
        "milmer --log {log} split {wildcards.protocol} {wildcards.fold} {output}"
        " {params.trials} --options {params.options:q}"


rule train:
    input:
        unpack(lambda wildcards: PLAN.training.inputs(wildcards)),
        backbone=lambda wildcards: PLAN.training.pretrained_files(wildcards),
        init=lambda wildcards: PLAN.training.init_files(wildcards, made_here=True),
    output:
        config="results/runs/{experiment}/{protocol}/{fold}/seed{seed}/model/config.json",
        processor="results/runs/{experiment}/{protocol}/{fold}/seed{seed}/model/milmer_processor.json",
        weights="results/runs/{experiment}/{protocol}/{fold}/seed{seed}/model/model.safetensors",
        predictions="results/runs/{experiment}/{protocol}/{fold}/seed{seed}/predictions.parquet",
        history="results/runs/{experiment}/{protocol}/{fold}/seed{seed}/history.parquet",
        validation="results/runs/{experiment}/{protocol}/{fold}/seed{seed}/validation.parquet",
    log:
        "results/logs/runs/{experiment}/{protocol}/{fold}/seed{seed}.log",
    benchmark:
        "results/benchmarks/runs/{experiment}/{protocol}/{fold}/seed{seed}.tsv"
    group:
        lambda wildcards: PLAN.training.group(wildcards)
    threads: lambda wildcards: PLAN.training.options(wildcards).threads
    resources:
        **on_gpu(lambda wildcards: PLAN.training.options(wildcards).device),
        mem_mb=lambda wildcards: PLAN.training.memory(wildcards),
    params:
        options=lambda wildcards: PLAN.training.train_json(wildcards.experiment),
        code=PLAN.code("milmer.training.loop"),
        backbone=lambda wildcards: content(PLAN.training.own_files(wildcards)),
        init=lambda wildcards: content(
            PLAN.training.init_files(wildcards, made_here=False)
        ),
        how=lambda wildcards: PLAN.training.arguments(wildcards),
        data=lambda wildcards, input: PLAN.file_arguments(
            input, "segments", "tokens", "faces"
        ),
    shell:
        "milmer --log {log} train --split {input.split} {params.data}"
        " results/runs/{wildcards.experiment}/{wildcards.protocol}/{wildcards.fold}/seed{wildcards.seed}"
        " --seed {wildcards.seed} {params.how} --options {params.options:q}"


rule evaluate:
    input:
        runs=lambda wildcards: PLAN.results.evaluated_files(wildcards),
    output:
        "results/runs/{experiment}/{protocol}/evaluation.parquet",
    log:
        "results/logs/runs/{experiment}/{protocol}/evaluation.log",
    benchmark:
        "results/benchmarks/runs/{experiment}/{protocol}/evaluation.tsv"
    resources:
        mem_mb=2000,
    params:
        options=lambda wildcards: as_argument(PLAN.results.evaluate_json(wildcards)),
        code=PLAN.code("milmer.evaluation.evaluate"),
    shell:
        "milmer --log {log} evaluate results/runs/{wildcards.experiment}/{wildcards.protocol}"
        " {output} --options {params.options:q}"


rule explain:
    input:
        unpack(lambda wildcards: PLAN.training.inputs(wildcards)),
        predictions="results/runs/{experiment}/{protocol}/{fold}/seed{seed}/predictions.parquet",
        weights="results/runs/{experiment}/{protocol}/{fold}/seed{seed}/model/model.safetensors",
    output:
        "results/explanations/{experiment}/{protocol}/{fold}/seed{seed}.h5",
    log:
        "results/logs/explanations/{experiment}/{protocol}/{fold}/seed{seed}.log",
    benchmark:
        "results/benchmarks/explanations/{experiment}/{protocol}/{fold}/seed{seed}.tsv"
    threads: lambda wildcards: PLAN.training.options(wildcards).threads
    resources:
        **on_gpu(lambda wildcards: PLAN.training.options(wildcards).device),
        mem_mb=4000,
    params:
        options=lambda wildcards: PLAN.results.explain_json(wildcards),
        code=PLAN.code("milmer.evaluation.explain"),
        device=lambda wildcards: PLAN.training.device(
            PLAN.training.options(wildcards).device
        ),
        data=lambda wildcards, input: PLAN.file_arguments(
            input, "segments", "tokens", "faces"
        ),
    shell:
        "milmer --log {log} explain"
        " results/runs/{wildcards.experiment}/{wildcards.protocol}/{wildcards.fold}/seed{wildcards.seed}"
        " {output} --split {input.split} {params.data}"
        " {params.device} --options {params.options:q}"
