"""Commands for people: what a dataset holds, a configuration, results, a synthetic dataset."""

from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from milmer.cli.app import OptionsJSON, app
from milmer.errors import MilmerError
from milmer.options import options_error, read_options

Directory = Annotated[Path, typer.Option("--directory", help="Working directory of the run.")]


@app.command()
def check(
    root: Annotated[
        Path,
        typer.Argument(help="Folder of a copy of DEAP, a manifest, or a configuration (.yaml)."),
    ],
    source: Annotated[
        str, typer.Option(help="DEAP's EEG to read: auto, dat, mat or bdf.")
    ] = "auto",
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Names, sizes and ratings alone; reads no EEG, no video."),
    ] = False,
    directory: Annotated[
        Path, typer.Option(help="Working directory of the pipeline, for the space on its disk.")
    ] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Tell what a dataset holds, before the first run.

    Exit status: 0 it can be used, 1 something would stop the pipeline or is missing.
    """
    import json

    from milmer.check.report import check
    from milmer.check.target import asked
    from milmer.check.text import screen

    dataset, labels = asked(root, source)
    if dataset.kind == "manifest":
        from milmer.check import manifest_text
        from milmer.check.manifest import look

        own = look(dataset, labels, quick)
        said = (
            json.dumps(manifest_text.as_json(own), indent=1)
            if as_json
            else manifest_text.screen(own)
        )
        stops = own.stops
    else:
        report = check(Path(dataset.root), dataset.source, quick, directory)
        said = json.dumps(report.as_json(), indent=1) if as_json else screen(report)
        stops = bool(report.errors)
    typer.echo(said)
    if stops:
        raise typer.Exit(1)


@app.command()
def manifest(
    out: Annotated[Path, typer.Argument(help="The manifest to write, a .csv that is not there.")],
    bids: Annotated[Path, typer.Option("--bids", help="Folder of an EEG-BIDS dataset.")],
    task: Annotated[str | None, typer.Option(help="Only the recordings of this task.")] = None,
) -> None:
    """Write a first manifest from an EEG-BIDS folder: a row an event, or a recording."""
    from milmer.manifest.bids import write_first

    said = write_first(bids, out, task)
    typer.echo(f"wrote {out}: {said}; look through it, then milmer check {out}")


@app.command()
def status(
    directory: Directory = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Tell what is done, running and missing, by stage and subject."""
    import json

    from milmer.plan.status import status

    found = status(directory)
    typer.echo(json.dumps(found.as_json(), indent=1) if as_json else found.screen())


@app.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
def resume(
    context: typer.Context,
    directory: Directory = Path(),
    ended: Annotated[
        bool, typer.Option("--ended", help="The last run, of another machine, no longer runs.")
    ] = False,
) -> None:
    """Go on with the last run, also after it was killed; more options are Snakemake's."""
    import os

    from milmer.plan import resume as resuming

    folder, command = resuming.resume(directory, context.args, ended)
    os.chdir(folder)
    os.execv(command[0], command)


@app.command()
def summary(tables: Annotated[Path, typer.Argument(help="Folder of the tables.")]) -> None:
    """Print the summary table."""
    path = tables / "summary.md"
    if not path.is_file():
        raise MilmerError(f"{path}: no such file; run snakemake first")
    typer.echo(path.read_text(encoding="utf-8"))


@app.command()
def convert(
    checkpoint: Annotated[Path, typer.Argument(help="State dict saved by the authors' code.")],
    out: Annotated[Path, typer.Argument(help="Folder of the converted model.")],
    selection: Annotated[str, typer.Option(help="As it was trained: none, softmax, amil, …")],
    fusion: Annotated[str, typer.Option(help="cross_attention, mlp or none.")],
    num_select: Annotated[int, typer.Option(help="Chosen instances K.")] = 3,
    num_heads: Annotated[int, typer.Option(help="Attention heads.")] = 12,
    backbone: Annotated[
        str | None, typer.Option(help="A backbone of the same shape; needed for a SwinV2.")
    ] = None,
) -> None:
    """Convert a checkpoint of the authors' code to a Milmer model."""
    from milmer.model import published

    published.convert(
        checkpoint,
        out,
        selection=selection,
        fusion=fusion,
        num_select=num_select,
        num_heads=num_heads,
        backbone=backbone,
    )
    typer.echo(f"wrote {out}")


@app.command()
def synth(
    out: Annotated[Path, typer.Argument(help="Folder of the new dataset.")],
    options: OptionsJSON = "{}",
    subjects: Annotated[int | None, typer.Option(help="Number of subjects.")] = None,
    trials: Annotated[int | None, typer.Option(help="Trials a subject.")] = None,
    seconds: Annotated[float | None, typer.Option(help="EEG of a trial in s.")] = None,
    seed: Annotated[int | None, typer.Option(help="Draws everything.")] = None,
    formats: Annotated[list[str] | None, typer.Option(help="dat, mat, bdf.")] = None,
    eeg_signal: Annotated[float | None, typer.Option(help="Strength of the class in EEG.")] = None,
    face_signal: Annotated[
        float | None, typer.Option(help="Strength of the class in faces.")
    ] = None,
    signal_channels: Annotated[
        int | None, typer.Option(help="Channels that show the class.")
    ] = None,
    fingerprint: Annotated[float | None, typer.Option(help="Strength of the trial's mark.")] = None,
    faceless: Annotated[float | None, typer.Option(help="Part of frames without a face.")] = None,
    missing_clips: Annotated[list[str] | None, typer.Option(help="As s01:3, by trial.")] = None,
    no_video: Annotated[list[int] | None, typer.Option(help="Subjects without video.")] = None,
    width: Annotated[int | None, typer.Option(help="Width of the videos in px.")] = None,
    height: Annotated[int | None, typer.Option(help="Height of the videos in px.")] = None,
    fps: Annotated[int | None, typer.Option(help="Frames a second.")] = None,
    backbone: Annotated[
        Path | None, typer.Option(help="Also write a small random Swin to this folder.")
    ] = None,
) -> None:
    """Write a synthetic dataset in DEAP's layout, to try everything without the licence."""
    given = {k: v for k, v in locals().items() if v is not None}
    from tqdm import tqdm

    from milmer.synthetic.twin import TwinOptions, synthesize, write_backbone

    known = TwinOptions.model_fields
    changes = {k: v for k, v in given.items() if k in known}
    twin = read_options(TwinOptions, options).model_dump() | changes
    try:
        with tqdm(desc="trials", disable=None) as bar:  # silent where stderr is no terminal

            def progress(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            synthesize(out, TwinOptions.model_validate(twin), progress)
    except ValidationError as error:
        raise options_error(TwinOptions, error) from error
    if backbone is not None:
        write_backbone(backbone)
    typer.echo(f"wrote {out}; use it with snakemake --config dataset='{{root: {out}}}'")


@app.command()
def config(
    given: Annotated[
        Path | None, typer.Argument(help="A configuration file to check; else defaults.")
    ] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema.")] = False,
    reference: Annotated[
        bool, typer.Option("--reference", help="Print a page on all options, in Markdown.")
    ] = False,
) -> None:
    """Check a configuration file and print it with every option and its default."""
    import json

    import yaml

    from milmer import config_text
    from milmer.config import Config, load_config

    if reference:
        typer.echo(config_text.reference(), nl=False)
        return
    if schema:
        typer.echo(json.dumps(Config.model_json_schema(), indent=1, sort_keys=True))
        return
    user = {}
    if given is not None:
        try:
            user = yaml.safe_load(given.read_text(encoding="utf-8")) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise MilmerError(f"{given}: {error}".replace("\n", " ")) from error
        if not isinstance(user, dict):
            raise MilmerError(f"{given}: holds no sections; write them as in config.yaml")
        load_config(user)
    typer.echo(config_text.documented(user, _HEADING), nl=False)


_HEADING = """\
# Milmer's configuration: what is set, and every other option commented out with its default.
# Made by `milmer config config.yaml`, which keeps what you set; `snakemake --config
# training='{epochs: 50}'` or `--configfile mine.yaml` go on top of this file.
"""
