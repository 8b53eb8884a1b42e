"""Commands for people: check a dataset or a configuration, show results, make a synthetic twin."""

from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from milmer.cli.app import RESULTS, START, TOOLS, OptionsJSON, app
from milmer.options import options_error, read_options


@app.command(rich_help_panel=START)
def check(
    target: Annotated[
        Path,
        typer.Argument(
            metavar="TARGET",
            help="A copy of DEAP (folder), a manifest, or a configuration (.yaml).",
        ),
    ],
    source: Annotated[
        str, typer.Option(help="Kind of DEAP's EEG to read: auto, dat, mat or bdf.")
    ] = "auto",
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Check names, sizes and ratings only; open no EEG or video."),
    ] = False,
    directory: Annotated[
        Path, typer.Option(help="Working directory of the run, to check its free disk space.")
    ] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check a dataset before the first run; of a configuration, rehearse the run.

    Exit status: 0 if it can be used, 1 if something would stop the pipeline.
    """
    import json

    from milmer.check.report import check
    from milmer.check.target import read_target

    report = check(read_target(target, source), quick, directory)
    typer.echo(json.dumps(report.as_json(), indent=1) if as_json else report.screen())
    if report.errors:
        raise typer.Exit(1)


@app.command(rich_help_panel=START)
def manifest(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the recordings.")],
    out: Annotated[Path, typer.Argument(help="The manifest to write, a new .csv file.")],
    kind: Annotated[
        str, typer.Option("--from", help="What DIR is: bids (EEG-BIDS), xdf (LSL), eav or mahnob.")
    ],
    task: Annotated[str | None, typer.Option(help="BIDS: recordings of this task only.")] = None,
    events: Annotated[
        str | None, typer.Option(metavar="REGEX", help="BIDS: events of these trial types only.")
    ] = None,
    marker: Annotated[
        str | None, typer.Option(metavar="REGEX", help="LSL: markers that begin a trial.")
    ] = None,
    camera: Annotated[
        str | None, typer.Option(metavar="WORD", help="A word in the names of the videos to use.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0.001, help="Length of events or trials without one, in s.")
    ] = None,
) -> None:
    """Write a first manifest from a folder of recordings: one row a trial."""
    from milmer.manifest.writing import write_first

    choices = {"task": task, "events": events, "marker": marker, "camera": camera}
    summary = write_first(kind, folder, out, **choices, seconds=seconds)
    typer.echo(f"wrote {out}: {summary}; review it, then run milmer check {out}")


@app.command(rich_help_panel=RESULTS)
def summary(
    tables: Annotated[Path, typer.Argument(help="Folder of the tables.")],
    everything: Annotated[bool, typer.Option("--all", help="Print the whole table.")] = False,
) -> None:
    """Print balanced accuracies by segment beside the best baseline, or the whole summary table."""
    import shutil

    from milmer.evaluation.screen import COLUMNS, skipped_lines, summary_screen, whole_table

    if everything:
        typer.echo("\n\n".join([whole_table(tables), *skipped_lines(tables)]))
    else:
        columns = shutil.get_terminal_size((COLUMNS, 24)).columns
        typer.echo(summary_screen(tables, min(COLUMNS, columns)))


@app.command(rich_help_panel=TOOLS)
def convert(
    checkpoint: Annotated[Path, typer.Argument(help="State dict saved by the authors' code.")],
    out: Annotated[Path, typer.Argument(help="Folder of the converted model.")],
    selection: Annotated[str, typer.Option(help="As in its training: none, softmax, amil, …")],
    fusion: Annotated[str, typer.Option(help="cross_attention, mlp or none.")],
    num_select: Annotated[int, typer.Option(help="Number K of chosen instances.")] = 3,
    num_heads: Annotated[int, typer.Option(help="Attention heads.")] = 12,
    backbone: Annotated[
        str | None, typer.Option(help="A backbone of the same shape; required for a SwinV2.")
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


@app.command(rich_help_panel=START)
def synth(
    out: Annotated[Path, typer.Argument(help="Folder of the new dataset.")],
    options: OptionsJSON = "{}",
    subjects: Annotated[
        int | None, typer.Option(help="Number of subjects.", show_default="2")
    ] = None,
    trials: Annotated[
        int | None, typer.Option(help="Trials per subject.", show_default="16")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(help="Length of a trial's EEG in s.", show_default="12")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the random numbers.", show_default="0")
    ] = None,
    formats: Annotated[
        list[str] | None, typer.Option(help="Kinds of EEG file: dat, mat, bdf.", show_default="dat")
    ] = None,
    eeg_signal: Annotated[
        float | None, typer.Option(help="Strength of the class in the EEG.", show_default="1")
    ] = None,
    face_signal: Annotated[
        float | None, typer.Option(help="Strength of the class in the faces.", show_default="1")
    ] = None,
    signal_channels: Annotated[
        int | None, typer.Option(help="Number of channels that show the class.", show_default="all")
    ] = None,
    fingerprint: Annotated[
        float | None, typer.Option(help="Strength of each trial's own pattern.", show_default="0")
    ] = None,
    faceless: Annotated[
        float | None, typer.Option(help="Fraction of frames without a face.", show_default="0.03")
    ] = None,
    missing_clips: Annotated[
        list[str] | None, typer.Option(help="Videos to leave out, such as s01:3.")
    ] = None,
    no_video: Annotated[list[int] | None, typer.Option(help="Subjects without video.")] = None,
    width: Annotated[
        int | None, typer.Option(help="Width of the videos in px.", show_default="720")
    ] = None,
    height: Annotated[
        int | None, typer.Option(help="Height of the videos in px.", show_default="576")
    ] = None,
    fps: Annotated[int | None, typer.Option(help="Frames per second.", show_default="50")] = None,
    backbone: Annotated[
        Path | None, typer.Option(help="Also write a small random Swin to this folder.")
    ] = None,
) -> None:
    """Write a synthetic dataset in DEAP's layout, to try Milmer without DEAP's licence."""
    arguments = {k: v for k, v in locals().items() if v is not None}
    from tqdm import tqdm

    from milmer import folders
    from milmer.synthetic.twin import TwinOptions, synthesize, write_backbone

    changes = {k: v for k, v in arguments.items() if k in TwinOptions.model_fields}
    twin = read_options(TwinOptions, options).model_dump() | changes
    if backbone is not None:  # before the dataset is made, which takes longer
        folders.require_replaceable(backbone, "synth", [out])
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


@app.command(rich_help_panel=START)
def config(
    file: Annotated[
        Path | None,
        typer.Argument(help="Configuration file, as for snakemake --configfile; default: none."),
    ] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema.")] = False,
    reference: Annotated[
        bool, typer.Option("--reference", help="Print a page on all options, in Markdown.")
    ] = False,
) -> None:
    """Check a configuration and print what the workflow would run: all options, with defaults.

    FILE goes on top of the config.yaml beside the Snakefile.
    """
    import json

    from milmer import config_files, config_text
    from milmer.config import Config, load_config

    if reference:
        typer.echo(config_text.reference(), nl=False)
        return
    if schema:
        typer.echo(json.dumps(Config.model_json_schema(), indent=1, sort_keys=True))
        return
    user = config_files.workflow_config(config_files.read_yaml(file) if file else {})
    load_config(user)
    typer.echo(config_text.documented(user, _HEADING), nl=False)


_HEADING = """\
# Milmer's configuration: what is set, and every other option commented out with its default.
# Made by `milmer config config.yaml`, which keeps what you set; `snakemake --config
# training='{epochs: 50}'` or `--configfile mine.yaml` go on top of this file.
"""
