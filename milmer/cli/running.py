"""Commands around a run: begin a working directory, run the workflow in it, look and resume."""

from pathlib import Path
from typing import Annotated

import typer

from milmer.cli.app import START, app

Directory = Annotated[Path, typer.Option("--directory", help="Working directory of the run.")]
_REFRESH_SECONDS = 2.0  # of what milmer status --watch shows
_HANDS_ON = {  # keywords of a command that hands options on to Snakemake
    "context_settings": {"ignore_unknown_options": True, "allow_extra_args": True},
    "options_metavar": "[OPTIONS] [SNAKEMAKE OPTIONS]",
}


@app.command(rich_help_panel=START)
def init(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The working directory, new or not.")
    ] = Path(),
    demo: Annotated[
        bool, typer.Option("--demo", help="Try Milmer on a synthetic dataset.")
    ] = False,
    deap: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Use this copy of DEAP.")
    ] = None,
    manifest: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Use the recordings of this manifest.")
    ] = None,
) -> None:
    """Begin a working directory: write its config.yaml and a README.md of the next steps."""
    from milmer.plan.starting import begin

    for line in begin(folder, demo, deap, manifest):
        typer.echo(line)


@app.command(rich_help_panel=START, **_HANDS_ON)
def run(
    context: typer.Context,
    slurm: Annotated[
        bool, typer.Option("--slurm", help="Send the jobs to SLURM, by the workflow's profile.")
    ] = False,
) -> None:
    """Run the workflow in this folder, with its config.yaml on top of the defaults.

    All other options are passed to Snakemake, such as --cores 4, --dry-run or --configfile FILE.
    """
    from milmer.plan.starting import find_logger, run_command, run_workflow

    find_logger()
    raise typer.Exit(run_workflow(run_command(context.args, slurm)))


@app.command(rich_help_panel=START)
def status(
    directory: Directory = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Refresh until the run ends or Ctrl-C.")
    ] = False,
) -> None:
    """Show what is done, running and missing, by stage and subject, and the last failure."""
    import json
    import time

    from milmer.plan.status import status

    state = status(directory)
    while watch and not as_json and state.process is not None:
        typer.echo(f"\033[2J\033[H{state.screen()}")
        try:
            time.sleep(_REFRESH_SECONDS)
        except KeyboardInterrupt:
            return
        state = status(directory)
    typer.echo(json.dumps(state.as_json(), indent=1) if as_json else state.screen())


@app.command(rich_help_panel=START, **_HANDS_ON)
def resume(
    context: typer.Context,
    directory: Directory = Path(),
    ended: Annotated[
        bool,
        typer.Option("--ended", help="Confirm that the last run, on another machine, has ended."),
    ] = False,
) -> None:
    """Continue the last run, even if it was killed.

    All other options are passed to Snakemake on top of those of the run, such as --cores 4.
    """
    from milmer.plan.resume import resume
    from milmer.plan.starting import find_logger, run_workflow

    find_logger()
    folder, command = resume(directory, context.args, ended)
    raise typer.Exit(run_workflow(command, folder))


@app.command(rich_help_panel=START)
def fetch(
    file: Annotated[
        Path | None, typer.Argument(help="Configuration; default: the one beside the Snakefile.")
    ] = None,
) -> None:
    """Download the configured backbones and face detectors, for nodes without a network.

    Backbones go to the Hugging Face cache, the model of mediapipe to faces.detector_model.
    """
    from milmer import config_files
    from milmer.backbone.fetching import fetch_backbones
    from milmer.config import load_config
    from milmer.faces.published_detector import fetch_detectors

    user = config_files.workflow_config(config_files.read_yaml(file) if file else {})
    config = load_config(user)
    backbones, faces = (
        [config.variant(section, name) for name in ("default", *getattr(config.variants, section))]
        for section in ("backbone", "faces")
    )
    models = fetch_detectors(faces)
    fetched = fetch_backbones(backbones)
    for path in models:
        typer.echo(f"{path}: the model of the face detector")
    for name, commit in fetched:
        typer.echo(f"{name}: commit {commit} is in the Hugging Face cache")
    if not models and not fetched:
        typer.echo("nothing to download: backbones and face detectors are at hand")
