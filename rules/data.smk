# From the files of a DEAP copy to EEG segments and face crops, one file a subject.


rule trials:
    input:
        ratings=PLAN.ratings,
        eeg=lambda wildcards: PLAN.eeg_files(wildcards.subject),
    output:
        "results/trials/{subject}.parquet",
    log:
        "results/logs/trials/{subject}.log",
    benchmark:
        "results/benchmarks/trials/{subject}.tsv"
    params:
        options=PLAN.trials_options,
        code=PLAN.code("milmer.deap.trials"),
        videos=lambda wildcards: PLAN.video_names(wildcards.subject),
    shell:
        "{MILMER} --log {log} trials {wildcards.subject} {output} --root {ROOT:q}"
        " --options {params.options:q}"


rule segments:
    input:
        trials="results/trials/{subject}.parquet",
        eeg=lambda wildcards: PLAN.eeg_files(wildcards.subject),
    output:
        "results/segments/{eeg}/{subject}.h5",
    log:
        "results/logs/segments/{eeg}/{subject}.log",
    benchmark:
        "results/benchmarks/segments/{eeg}/{subject}.tsv"
    params:
        options=lambda wildcards: PLAN.config.segments_json(wildcards.eeg),
        code=PLAN.code("milmer.eeg.segments"),
    resources:
        mem_mb=2000,
    shell:
        "{MILMER} --log {log} segments --trials {input.trials} {output} --root {ROOT:q}"
        " --options {params.options:q}"


rule faces:
    input:
        trials="results/trials/{subject}.parquet",
        videos=lambda wildcards: PLAN.video_files(wildcards.subject),
        model=lambda wildcards: PLAN.detector_files(wildcards.faces),
    output:
        "results/faces/{faces}/{subject}.h5",
    log:
        "results/logs/faces/{faces}/{subject}.log",
    benchmark:
        "results/benchmarks/faces/{faces}/{subject}.tsv"
    params:
        options=lambda wildcards: PLAN.config.faces_json(wildcards.faces),
        code=PLAN.code("milmer.faces.crops"),
    threads: PLAN.config.faces.threads
    resources:
        mem_mb=2000,
    shell:
        "{MILMER} --log {log} faces --trials {input.trials} {output} --root {ROOT:q}"
        " --threads {threads} --options {params.options:q}"
