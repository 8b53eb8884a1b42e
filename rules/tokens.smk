# A frozen Swin makes tokens of the face crops, once for all experiments. Where
# backbone.pretrain.images is set, it learns emotions from pictures of faces before.


rule pretrain:
    output:
        config="results/backbones/{backbone}/config.json",
        weights="results/backbones/{backbone}/model.safetensors",
        processor="results/backbones/{backbone}/preprocessor_config.json",
        metrics="results/backbones/{backbone}/metrics.json",
    log:
        "results/logs/backbones/{backbone}.log",
    benchmark:
        "results/benchmarks/backbones/{backbone}.tsv"
    threads: lambda wildcards: PLAN.data.backbone(wildcards).threads
    resources:
        **on_gpu(lambda wildcards: PLAN.data.backbone(wildcards).device),
        mem_mb=8000,
    params:
        options=lambda wildcards: PLAN.config.pretrain_json(wildcards.backbone),
        code=PLAN.code("milmer.backbone.pretraining"),
        backbone=lambda wildcards: content(PLAN.data.start_files(wildcards.backbone)),
        pictures=lambda wildcards: PLAN.data.pictures(wildcards),
        images=lambda wildcards: Untracked(
            PLAN.data.backbone(wildcards).pretrain.images
        ),
        device=lambda wildcards: PLAN.training.device(
            PLAN.data.backbone(wildcards).device
        ),
        minutes=lambda wildcards: Untracked(
            PLAN.data.backbone(wildcards).pretrain.checkpoint_minutes
        ),
        name=lambda wildcards: Untracked(PLAN.data.backbone(wildcards).name),
        out=lambda wildcards, output: Path(output.metrics).parent,
    shell:
        "milmer --log {log} finetune-backbone {params.images} {params.out}"
        " --backbone {params.name} {params.device}"
        " --checkpoint-minutes {params.minutes} --options {params.options:q}"


rule tokens:
    input:
        faces="results/faces/{faces}/{subject}.h5",
        backbone=lambda wildcards: PLAN.data.pretrained_files(wildcards.backbone),
    output:
        "results/tokens/{faces}/{backbone}/{subject}.h5",
    log:
        "results/logs/tokens/{faces}/{backbone}/{subject}.log",
    benchmark:
        "results/benchmarks/tokens/{faces}/{backbone}/{subject}.tsv"
    threads: lambda wildcards: PLAN.data.backbone(wildcards).threads
    resources:
        **on_gpu(lambda wildcards: PLAN.data.backbone(wildcards).device),
        mem_mb=4000,
    params:
        options=lambda wildcards: PLAN.config.tokens_json(
            wildcards.faces, wildcards.backbone
        ),
        code=PLAN.code("milmer.backbone.tokens"),
        backbone=lambda wildcards: content(PLAN.data.own_files(wildcards.backbone)),
        device=lambda wildcards: PLAN.training.device(
            PLAN.data.backbone(wildcards).device
        ),
        name=lambda wildcards: PLAN.data.backbone_name(wildcards.backbone),
    shell:
        "milmer --log {log} tokens --faces {input.faces} {output}"
        " --backbone {params.name} {params.device} --options {params.options:q}"
