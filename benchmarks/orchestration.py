"""A run with nothing to do, beside a bare Snakefile with as many jobs and files.

Empty files stand for a dataset, and all results exist (Snakemake's --touch sees to that), so what
is timed is parsing, building the graph of jobs and looking for changes. The bare Snakefile has the
same rules and files, but no params, no configuration and no imports. Each job on a cluster pays for
the parsing again. The cost of imports is timed in fresh interpreters.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from timing import arguments, interleaved, machine, ratio, table

PROJECT = Path(__file__).resolve().parent.parent
FOLDS = 5
CONFIG = {
    "dataset": {"root": "deap"},
    "faces": {"detector": "haar"},
    "protocols": {"names": ["trial"], "folds": FOLDS},
    "experiments": {
        "milmer": {},
        "eeg_only": {"model": {"modalities": ["eeg"]}},
        "face_only": None,
        "published_frozen": None,
    },
}
BARE = """
SUBJECTS = [f"s{{i:02d}}" for i in range(1, {subjects} + 1)]
FOLDS = [f"{{s}}-k{{k}}" for s in SUBJECTS for k in range({folds})]
RUNS = expand("runs/{{e}}/{{f}}/", e=["milmer", "eeg_only"], f=FOLDS)
rule all:
    input: multiext("tables/", *"abcdefghijklmnopqrstuvw"), "report/a"
rule trials:
    output: "trials/{{s}}"
    shell: "touch {{output}}"
rule segments:
    input: "trials/{{s}}"
    output: "segments/{{s}}"
    shell: "touch {{output}}"
rule faces:
    input: "trials/{{s}}"
    output: "faces/{{s}}"
    shell: "touch {{output}}"
rule tokens:
    input: "faces/{{s}}"
    output: "tokens/{{s}}"
    shell: "touch {{output}}"
rule split:
    input: "trials/{{s}}"
    output: "splits/{{s}}-k{{k}}"
    shell: "touch {{output}}"
rule baseline:
    input: "splits/{{s}}-k{{k}}", "segments/{{s}}"
    output: "baselines/{{s}}-k{{k}}"
    shell: "touch {{output}}"
rule train:
    input: "splits/{{s}}-k{{k}}", "segments/{{s}}", "tokens/{{s}}"
    output: multiext("runs/{{e}}/{{s}}-k{{k}}/", "a", "b", "c", "d", "e", "f")
    shell: "touch {{output}}"
rule explain:
    input:
        multiext("runs/{{e}}/{{s}}-k{{k}}/", "a", "b"),
        "splits/{{s}}-k{{k}}", "segments/{{s}}", "tokens/{{s}}",
    output: "explain/{{e}}/{{s}}-k{{k}}"
    shell: "touch {{output}}"
rule tables:
    input: [run + x for run in RUNS for x in "ab"], expand("baselines/{{f}}", f=FOLDS)
    output: multiext("tables/", *"abcdefghijklmnopqrstuvw")
    shell: "touch {{output}}"
rule report:
    input:
        multiext("tables/", *"abcdefghijklmnopqrstuvw"),
        [run + x for run in RUNS for x in "abc"],
        expand("explain/{{e}}/{{f}}", e=["milmer", "eeg_only"], f=FOLDS),
        expand("{{kind}}/{{s}}", kind=["trials", "segments", "faces"], s=SUBJECTS),
    output: multiext("report/", *"abcdefghij")
    shell: "touch {{output}}"
"""


def main() -> None:
    parser = arguments(__doc__)
    args = parser.parse_args()
    subjects = 2 if args.quick else 16
    with tempfile.TemporaryDirectory() as folder:
        ours, bare = Path(folder) / "ours", Path(folder) / "bare"
        ours.mkdir()
        bare.mkdir()
        names = ["metadata_csv/participant_ratings.csv"]
        for s in range(1, subjects + 1):
            names.append(f"data_preprocessed_python/s{s:02d}.dat")
            names.append(f"face_video/s{s:02d}/s{s:02d}_trial01.avi")
        _touch(ours / "deap", names)
        (ours / "mine.yaml").write_text(yaml.safe_dump(CONFIG))
        (bare / "Snakefile").write_text(BARE.format(subjects=subjects, folds=FOLDS))
        options = ["--snakefile", str(PROJECT / "Snakefile"), "--configfile", "mine.yaml"]
        jobs = {"ours": _finish(ours, options), "bare": _finish(bare, [])}
        run = {
            "nothing to do, this Snakefile": lambda: _idle(ours, options),
            "nothing to do, bare Snakefile": lambda: _idle(bare, []),
            "python -c pass": lambda: _python("pass"),
            "import what the Snakefile imports": lambda: _python(
                "import milmer.plan, milmer.plan.resume"
            ),
        }
        timed = interleaved(run, args.rounds)
    print(f"{jobs['ours']} jobs, {jobs['bare']} in the bare Snakefile")
    print(table(["", "median s", "all"], [
        [name, t.median, " ".join(f"{s:.2f}" for s in t.seconds)] for name, t in timed.items()
    ]))  # fmt: skip
    names = list(run)
    for first, second in ((names[0], names[1]), (names[3], names[2])):
        a, b = timed[first], timed[second]
        more = sorted(x - y for x, y in zip(a.seconds, b.seconds, strict=True))
        print(
            f"{first}: {more[len(more) // 2]:.2f} s more than {second}, "
            f"{ratio(a, b):.2f} times as long (medians of the rounds)"
        )
    print(machine(args.threads, ["snakemake", "pydantic"]))


def _snakemake(folder: Path, *options: str) -> str:
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


def _finish(folder: Path, options: list[str]) -> int:
    """Create all results as empty files; returns the number of jobs."""
    summary = _snakemake(folder, *options, "--summary").splitlines()
    _touch(folder, [line.split("\t")[0] for line in summary if "\tmissing\t" in line])
    told = _snakemake(folder, *options, "--touch")
    return next(int(line.split()[1]) for line in told.splitlines() if line.startswith("total"))


def _idle(folder: Path, options: list[str]) -> None:
    assert "Nothing to be done" in _snakemake(folder, *options)


def _python(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=True)


def _touch(folder: Path, names: list[str]) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


if __name__ == "__main__":
    main()
