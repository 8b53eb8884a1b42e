# From all runs to the tables.


rule tables:
    input:
        PLAN.runs(),
    output:
        TABLES,
    log:
        "results/logs/tables.log",
    benchmark:
        "results/benchmarks/tables.tsv"
    params:
        options=PLAN.tables_json(),
        code=PLAN.code("milmer.evaluation.tables"),
    shell:
        "milmer --log {log} tables results/runs results/tables"
        " --options {params.options:q}"
