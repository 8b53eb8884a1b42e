# Baselines on the folds of the experiments, and from all runs to the tables.


rule baseline:
    input:
        split="results/splits/{labels}/{protocol}/{fold}.parquet",
        segments=lambda wildcards: PLAN.baseline_segments(wildcards),
    output:
        "results/baselines/{eeg}/{labels}/{protocol}/{fold}.parquet",
    log:
        "results/logs/baselines/{eeg}/{labels}/{protocol}/{fold}.log",
    benchmark:
        "results/benchmarks/baselines/{eeg}/{labels}/{protocol}/{fold}.tsv"
    resources:
        mem_mb=2000,
    params:
        options=PLAN.baseline_json(),
        code=PLAN.code("milmer.evaluation.band_power"),
        segments=lambda wildcards, input: PLAN.listed("--segments", input.segments),
    shell:
        "milmer --log {log} baseline --split {input.split} {params.segments} {output}"
        " --options {params.options:q}"


rule tables:
    input:
        runs=PLAN.runs(),
        baselines=PLAN.baselines(),
    output:
        TABLES,
    log:
        "results/logs/tables.log",
    benchmark:
        "results/benchmarks/tables.tsv"
    params:
        options=PLAN.tables_json(),
        code=PLAN.code("milmer.evaluation.tables"),
        baselines=PLAN.BASELINES,
    shell:
        "milmer --log {log} tables results/runs results/tables"
        " --baselines {params.baselines} --options {params.options:q}"
