# Baselines and controls on the folds of the experiments, from all runs to the tables, and all of it on one page.


rule baseline:
    input:
        unpack(lambda wildcards: PLAN.results.baseline_inputs(wildcards)),
    output:
        expand(
            "results/baselines/{baseline}/{labels}/{protocol}.parquet",
            baseline=PLAN.results.baseline_names() or ["none"],
            allow_missing=True,
        ),
    log:
        "results/logs/baselines/{labels}/{protocol}.log",
    benchmark:
        "results/benchmarks/baselines/{labels}/{protocol}.tsv"
    resources:
        mem_mb=4000,
    params:
        options=lambda wildcards: PLAN.results.baseline_json(wildcards),
        code=PLAN.code("milmer.evaluation.baselines"),
        data=lambda wildcards, input: PLAN.file_arguments(input, "segments", "tokens"),
    shell:
        "milmer --log {log} baseline results/splits/{wildcards.labels}/{wildcards.protocol}"
        " results/baselines {params.data} --options {params.options:q}"


rule controls:
    input:
        unpack(lambda wildcards: PLAN.results.control_inputs(wildcards)),
    output:
        "results/controls/{labels}/{protocol}.parquet",
    log:
        "results/logs/controls/{labels}/{protocol}.log",
    benchmark:
        "results/benchmarks/controls/{labels}/{protocol}.tsv"
    resources:
        mem_mb=4000,
    params:
        options=lambda wildcards: as_argument(PLAN.results.controls_json(wildcards)),
        code=PLAN.code("milmer.evaluation.controls"),
        data=lambda wildcards, input: PLAN.file_arguments(
            input, "trials", "segments", "tokens"
        ),
    shell:
        "milmer --log {log} controls results/splits/{wildcards.labels}/{wildcards.protocol}"
        " {output} {params.data} --options {params.options:q}"


rule tables:
    input:
        runs=PLAN.results.predictions(),
        evaluations=PLAN.results.evaluations(),
        baselines=PLAN.results.baselines(),
        controls=PLAN.results.controls(),
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
        options=as_argument(PLAN.results.tables_json()),
        code=PLAN.code("milmer.evaluation.tables"),
    shell:
        "milmer --log {log} tables results/runs results/tables"
        " --baselines results/baselines --controls results/controls"
        " --options {params.options:q}"


rule report:
    input:
        tables=TABLES,
        shown=PLAN.results.report_inputs(),
    output:
        [
            report(
                f"results/report/figures/{name}.svg",
                caption=f"../workflow/report/{name}.rst",
                category=category,
                labels={"figure": name},
            )
            for name, category in PLAN.results.figures.items()
        ],
        page=report(
            "results/report/index.html",
            caption="../workflow/report/page.rst",
            category="Report",
            labels={"page": "all results"},
        ),
    log:
        "results/logs/report.log",
    benchmark:
        "results/benchmarks/report.tsv"
    resources:
        mem_mb=4000,
    params:
        options=as_argument(PLAN.results.report_json()),
        code=PLAN.code("milmer.evaluation.report.page"),
        page=PLAN.results.page_files(),
        out=lambda wildcards, output: Path(output.page).parent,
    shell:
        "milmer --log {log} report results {params.out} --options {params.options:q}"
