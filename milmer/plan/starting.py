"""Working directories: how one begins, and how the workflow is run in it.

Snakemake runs as a child, so that what it made can be shown when it ends.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from milmer import storage
from milmer.config_files import WORKFLOW, workflow_config
from milmer.errors import MilmerError
from milmer.plan import snakemake_arguments

CONFIG = Path("config.yaml")
"""The configuration of a working directory, on top of that beside the Snakefile."""

SLURM = WORKFLOW / "workflow/profiles/slurm"
_LIMITS = {"cores", "jobs", "profile", "workflow_profile"}  # that say how much runs at once
_PARTIAL = {None, "until", "omit_from", "unlock"}  # of a run that may not reach the tables


def begin(folder: Path, demo: bool, deap: Path | None, manifest: Path | None) -> list[str]:
    """Write the configuration of a working directory and its next steps; lines that say so.

    Raises :class:`MilmerError` where more than one dataset is named, where there is none at that
    place, and where the folder has a configuration or a README.md already.
    """
    if sum((demo, deap is not None, manifest is not None)) > 1:
        raise MilmerError(
            "cannot be combined", where="--demo, --deap, --manifest", remedy="give one of them"
        )
    config, readme = folder / CONFIG, folder / "README.md"
    for path in (config, readme):
        if os.path.lexists(path):
            raise MilmerError("exists already", where=path, remedy="give another folder")
    if demo:
        text = (WORKFLOW / "workflow/demo.yaml").read_text(encoding="utf-8")
        _write_twin(folder)
    else:
        text = _configuration(deap, manifest)
    for path, content in ((config, text), (readme, _DEMO_README if demo else _README)):
        with storage.replacing(path) as partial:
            partial.write_text(content, encoding="utf-8")
    lines = [f"wrote {config} and {readme}"]
    if not (demo or deap or manifest):
        lines.append(f"set dataset in {config} to your recordings first")
    there = "" if folder == Path() else f"cd {shlex.quote(str(folder))} && "
    return [*lines, f"next: {there}milmer run"]


def _configuration(deap: Path | None, manifest: Path | None) -> str:
    from milmer.config import load_config
    from milmer.config_text import documented
    from milmer.data.options import LabelsOptions
    from milmer.manifest.dataset import missing_labels
    from milmer.manifest.table import read_manifest

    user: dict[str, Any] = {}
    if deap is not None:
        if not deap.is_dir():
            raise MilmerError("no such folder", where=deap, remedy="give your copy of DEAP")
        user = {"dataset": {"root": os.path.abspath(deap)}}
    if manifest is not None:
        table = read_manifest(manifest)
        user = {"dataset": {"kind": "manifest", "manifest": os.path.abspath(manifest)}}
        if table.classes and missing_labels(table, LabelsOptions()):
            user["labels"] = {"scheme": "label"}
    load_config(user)
    return documented(workflow_config(user), _HEADING)


def _write_twin(folder: Path) -> None:
    from milmer.synthetic.twin import TwinOptions, synthesize, write_backbone

    options = json.loads((WORKFLOW / "workflow/demo-twin.json").read_text(encoding="utf-8"))
    synthesize(folder / "deap", TwinOptions(**options))
    write_backbone(folder / "swin")


def run_command(arguments: Sequence[str], slurm: bool = False) -> list[str]:
    """The command that runs the workflow here: Snakemake with ``arguments`` of its own."""
    options = {name for name, _ in snakemake_arguments.options(arguments)}
    files = snakemake_arguments.values(arguments, "configfile")
    if CONFIG.is_file() and not CONFIG.samefile(WORKFLOW / CONFIG):
        files = [str(CONFIG), *files]
    return [
        *(sys.executable, "-P", "-m", "snakemake"),
        *(["--configfile", *files] if files else []),
        *(["--workflow-profile", str(SLURM)] if slurm else []),
        *([] if slurm or options & _LIMITS else ["--cores", "all"]),
        *(["--logger", "milmer"] if snakemake_arguments.runs_jobs(arguments) else []),
        # After options that take several words, before what may be targets.
        *("--rerun-incomplete", "--snakefile", str(WORKFLOW / "Snakefile")),
        *snakemake_arguments.without(arguments, {"configfile"}),
    ]


def find_logger() -> None:
    """Let Snakemake, as this process or a child of it, find the logger of the workflow."""
    others = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(WORKFLOW / "workflow/logger"), *others])


def run_workflow(command: Sequence[str], folder: Path | str = ".") -> int:
    """Run such a command in a folder, then show the table that it made; its exit status."""
    snakemake = subprocess.Popen(command, cwd=folder)
    # Ctrl-C reaches Snakemake by itself, and is its to answer.
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda number, _: snakemake.send_signal(number))
    status = snakemake.wait()
    arguments = command[command.index("snakemake") + 1 :]
    options = {name for name, _ in snakemake_arguments.options(arguments)}
    directory = Path(folder, *snakemake_arguments.values(arguments, "directory"))
    tables, page = directory / "results/tables", directory / "results/report/index.html"
    ran = snakemake_arguments.runs_jobs(arguments) and _PARTIAL.isdisjoint(options)
    if status == 0 and ran and page.is_file():
        from milmer.evaluation.screen import summary_screen

        print(f"\n{summary_screen(tables)}\n\nAll of it on one page: {page}")
    return status if status >= 0 else 128 - status


_HEADING = """\
# Your configuration, on top of Milmer's own: what is set, and every other option commented out with
# its default. `milmer check config.yaml` rehearses a run, `milmer run` starts it.
"""
_NEXT = """\
* `milmer run --dry-run` shows what would run, `milmer run` runs it, here with all cores; `milmer
  run --slurm` sends it to a SLURM cluster. What is done already is not done again.
* `milmer status` tells what is done, running and missing, in another terminal too.
* `milmer resume` continues a run that was cut short, however that happened.
* `milmer summary results/tables` prints the table once more; all results stand on one page,
  `results/report/index.html`.
* Options stand in `config.yaml`, each with its default and its reason: change one and run again,
  and only what it can affect runs again.
"""
_README = f"""\
# Next steps

* `milmer check config.yaml` rehearses the run on all recordings: what would stop it, and which
  data it would leave out.
{_NEXT}"""
_DEMO_README = f"""\
# Next steps

`deap` is a synthetic dataset in DEAP's layout, `swin` a small random vision encoder.

{_NEXT}* `milmer predict results/runs/eeg_only/trial/s01-k0/seed0 prediction --trials
  results/trials/s01.parquet --root deap` predicts with one of the trained models.
* `milmer init --deap PATH` or `--manifest FILE`, in another folder, begins with real recordings.
"""
