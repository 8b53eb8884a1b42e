# From a dataset's files to EEG segments and face crops, one file a subject. The dataset's files are
# no inputs but params, by their content: where they lie and when they were written counts for nothing.


rule trials:
    output:
        "results/trials/{subject}.parquet",
    log:
        "results/logs/trials/{subject}.log",
    benchmark:
        "results/benchmarks/trials/{subject}.tsv"
    params:
        options=lambda wildcards: PLAN.dataset.trials_json(wildcards.subject),
        code=PLAN.code(PLAN.dataset.trials_module),
        ratings=content(PLAN.dataset.trials_files()),
        eeg=lambda wildcards: content(PLAN.dataset.eeg_files(wildcards.subject)),
        root=PLAN.data.root,
        manifest=PLAN.data.manifest,
        videos=lambda wildcards: content(PLAN.dataset.video_files(wildcards.subject)),
        filmed=lambda wildcards: PLAN.dataset.trials_trigger(wildcards.subject),
    shell:
        "milmer --log {log} trials {wildcards.subject} {output} --root {params.root}"
        " {params.manifest} --options {params.options:q}"


rule segments:
    input:
        trials="results/trials/{subject}.parquet",
    output:
        "results/segments/{eeg}/{subject}.h5",
    log:
        "results/logs/segments/{eeg}/{subject}.log",
    benchmark:
        "results/benchmarks/segments/{eeg}/{subject}.tsv"
    resources:
        mem_mb=2000,
    params:
        options=lambda wildcards: PLAN.config.segments_json(wildcards.eeg),
        code=PLAN.code("milmer.eeg.segments", PLAN.dataset.recordings_module),
        eeg=lambda wildcards: content(PLAN.dataset.eeg_files(wildcards.subject)),
        root=PLAN.data.root,
    shell:
        "milmer --log {log} segments --trials {input.trials} {output} --root {params.root}"
        " --options {params.options:q}"


rule faces:
    input:
        trials="results/trials/{subject}.parquet",
    output:
        "results/faces/{faces}/{subject}.h5",
    log:
        "results/logs/faces/{faces}/{subject}.log",
    benchmark:
        "results/benchmarks/faces/{faces}/{subject}.tsv"
    threads: lambda wildcards: PLAN.data.face_threads(wildcards)
    resources:
        mem_mb=2000,
    params:
        options=lambda wildcards: PLAN.config.faces_json(wildcards.faces),
        code=PLAN.code("milmer.faces.crops"),
        videos=lambda wildcards: content(PLAN.dataset.video_files(wildcards.subject)),
        model=lambda wildcards: content(PLAN.data.detector_files(wildcards.faces)),
        root=PLAN.data.root,
        detector=lambda wildcards: PLAN.data.detector_model(wildcards),
    shell:
        "milmer --log {log} faces --trials {input.trials} {output} --root {params.root}"
        " --threads {threads} {params.detector} --options {params.options:q}"
