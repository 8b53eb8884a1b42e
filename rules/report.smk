# Baselines on the folds of the experiments, from all runs to the tables, and all of it on one page.


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
        segments=lambda wildcards, input: PLAN.file_arguments(input, "segments"),
    shell:
        "milmer --log {log} baseline --split {input.split} {params.segments} {output}"
        " --options {params.options:q}"


rule tables:
    input:
        runs=PLAN.runs(),
        evaluations=PLAN.evaluations(),
        baselines=PLAN.baselines(),
    output:
        [table for table in TABLES if table not in READ_AS_TEXT],
        report(
            READ_AS_TEXT,
            caption="../workflow/report/tables.rst",
            category="Tables",
        ),
    log:
        "results/logs/tables.log",
    benchmark:
        "results/benchmarks/tables.tsv"
    params:
        options=PLAN.tables_json(),
        code=PLAN.code("milmer.evaluation.tables"),
        baselines=lambda wildcards: PLAN.BASELINES,
    shell:
        "milmer --log {log} tables results/runs results/tables"
        " --baselines {params.baselines} --options {params.options:q}"


rule report:
    input:
        tables=TABLES,
        shown=PLAN.report_inputs(),
    output:
        page=report(
            "results/report/index.html",
            caption="../workflow/report/page.rst",
            category="Report",
            labels={"page": "all results"},
        ),
        inflation=report(
            "results/report/figures/inflation.svg",
            caption="../workflow/report/inflation.rst",
            category="Results",
            labels={"figure": "inflation"},
        ),
        subjects=report(
            "results/report/figures/subjects.svg",
            caption="../workflow/report/subjects.rst",
            category="Results",
            labels={"figure": "subjects"},
        ),
        confusion=report(
            "results/report/figures/confusion.svg",
            caption="../workflow/report/confusion.rst",
            category="Results",
            labels={"figure": "confusion"},
        ),
        learning=report(
            "results/report/figures/learning.svg",
            caption="../workflow/report/learning.rst",
            category="Training",
            labels={"figure": "learning"},
        ),
        reliability=report(
            "results/report/figures/reliability.svg",
            caption="../workflow/report/reliability.rst",
            category="Results",
            labels={"figure": "reliability"},
        ),
        frames=report(
            "results/report/figures/frames.svg",
            caption="../workflow/report/frames.rst",
            category="Faces",
            labels={"figure": "frames"},
        ),
        attention=report(
            "results/report/figures/attention.svg",
            caption="../workflow/report/attention.rst",
            category="Faces",
            labels={"figure": "attention"},
        ),
        channels=report(
            "results/report/figures/channels.svg",
            caption="../workflow/report/channels.rst",
            category="EEG",
            labels={"figure": "channels"},
        ),
        cleaning=report(
            "results/report/figures/cleaning.svg",
            caption="../workflow/report/cleaning.rst",
            category="EEG",
            labels={"figure": "cleaning"},
        ),
    log:
        "results/logs/report.log",
    benchmark:
        "results/benchmarks/report.tsv"
    resources:
        mem_mb=4000,
    params:
        options=PLAN.report_json(),
        code=PLAN.code("milmer.evaluation.report.page"),
        page=PLAN.page_files(),
        out=lambda wildcards, output: Path(output.page).parent,
    shell:
        "milmer --log {log} report results {params.out} --options {params.options:q}"
