# A frozen Swin makes tokens of the face crops, once for all experiments.


rule tokens:
    input:
        faces="results/faces/{faces}/{subject}.h5",
        backbone=lambda wildcards: PLAN.backbone_files(wildcards.backbone),
    output:
        "results/tokens/{faces}/{backbone}/{subject}.h5",
    log:
        "results/logs/tokens/{faces}/{backbone}/{subject}.log",
    benchmark:
        "results/benchmarks/tokens/{faces}/{backbone}/{subject}.tsv"
    threads: lambda wildcards: PLAN.backbone(wildcards).threads
    resources:
        mem_mb=4000,
        gpu=lambda wildcards: PLAN.gpus(PLAN.backbone(wildcards).device),
    params:
        options=lambda wildcards: PLAN.config.tokens_json(
            wildcards.faces, wildcards.backbone
        ),
        code=PLAN.code("milmer.backbone.tokens"),
        device=lambda wildcards: Aside(PLAN.backbone(wildcards).device),
        name=lambda wildcards: Aside(PLAN.backbone(wildcards).name),
    shell:
        "milmer --log {log} tokens --faces {input.faces} {output}"
        " --backbone {params.name} --device {params.device} --options {params.options:q}"
