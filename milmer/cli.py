"""The command line: parses, calls one function, and turns an error for people into one line.

``milmer STAGE --options JSON …`` is what the rules run; each line can be pasted from a log. Every
command imports its stage only when it is called.
"""

import contextlib
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from milmer.errors import MilmerError

app = typer.Typer(
    help="Emotion recognition from EEG and face video with the Milmer model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

OptionsJSON = Annotated[
    str, typer.Option("--options", metavar="JSON", help="The stage's options; missing: defaults.")
]
Root = Annotated[Path, typer.Option("--root", help="Folder of the dataset.")]
Trials = Annotated[Path, typer.Option("--trials", help="The subject's table of trials.")]
Out = Annotated[Path, typer.Argument(help="File to write.")]


def main() -> None:
    """Run the command line; the exit status is 1 after an error for people."""
    # A job that is told to end should leave as after an error: clean up, exit non-zero.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        app()
    except MilmerError as error:
        _say(f"milmer: {error}")
        sys.exit(1)


@app.callback()
def _common(
    log: Annotated[
        Path | None, typer.Option("--log", help="Write messages to this file, not to stderr.")
    ] = None,
) -> None:
    if log is not None:
        _send_stderr_to(log)
    if not sys.stderr.isatty():  # bars of Hugging Face's libraries, once they are imported
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    for noisy in ("httpx", "transformers", "huggingface_hub"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


@app.command()
def check(
    root: Annotated[Path, typer.Argument(help="Folder of the dataset.")],
    source: Annotated[str, typer.Option(help="EEG to read: auto, dat, mat or bdf.")] = "auto",
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Names, sizes and ratings alone; reads no EEG, no video."),
    ] = False,
    directory: Annotated[
        Path, typer.Option(help="Working directory of the pipeline, for the space on its disk.")
    ] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Tell what a copy of DEAP holds, before the first run.

    Exit status: 0 it can be used, 1 something would stop the pipeline or is missing.
    """
    import json

    from milmer.check.report import check
    from milmer.check.text import screen
    from milmer.deap.options import DatasetOptions

    dataset = _read(DatasetOptions, json.dumps({"root": str(root), "source": source}))
    report = check(root, dataset.source, quick, directory)
    typer.echo(json.dumps(report.as_json(), indent=1) if as_json else screen(report))
    if report.errors:
        raise typer.Exit(1)


@app.command()
def trials(subject: str, out: Out, root: Root, options: OptionsJSON = "{}") -> None:
    """Join a subject's ratings, EEG and videos into one table."""
    from milmer.deap.trials import TrialsOptions, make_trials

    make_trials(root, subject, _read(TrialsOptions, options), out)


@app.command()
def segments(trials: Trials, out: Out, root: Root, options: OptionsJSON = "{}") -> None:
    """Filter a subject's EEG and cut it into segments."""
    from milmer.eeg.options import SegmentsOptions
    from milmer.eeg.segments import make_segments

    make_segments(trials, root, _read(SegmentsOptions, options), out)


@app.command()
def faces(
    out: Annotated[
        Path | None, typer.Argument(help="File to write; with --sheet the one to read.")
    ] = None,
    trials: Annotated[Path | None, typer.Option(help="The subject's table of trials.")] = None,
    root: Annotated[Path | None, typer.Option(help="Folder of the dataset.")] = None,
    options: OptionsJSON = "{}",
    threads: Annotated[int, typer.Option(help="Threads that decode and search.")] = 2,
    detector_model: Annotated[str | None, typer.Option(help="The detector's model file.")] = None,
    sheet: Annotated[
        Path | None,
        typer.Option(
            help="Draw how detection went, and crop nothing: of --video to this PNG, or of each "
            "clip of a subject's finished OUT to this folder. The pictures show people's faces."
        ),
    ] = None,
    video: Annotated[Path | None, typer.Option(help="One video to draw a --sheet of.")] = None,
) -> None:
    """Crop the faces of a subject's videos, or draw contact sheets of how that went."""
    from milmer.faces.crops import make_faces
    from milmer.faces.options import FaceStageOptions

    how = {"threads": threads} | ({"detector_model": detector_model} if detector_model else {})
    stage = _read(FaceStageOptions, options).but({"faces": how})
    subject = [given for given in (trials, root, out) if given is not None]
    if video is not None and sheet is not None and not subject:
        from milmer.faces.sheet import draw_video_sheet

        draw_video_sheet(video, stage, sheet)
        typer.echo(f"wrote {sheet}")
    elif video is not None or len(subject) < 3:
        raise MilmerError("faces: give OUT, --trials and --root, or --video and --sheet")
    elif sheet is not None:
        from milmer.faces.sheet import draw_subject_sheets

        written = draw_subject_sheets(trials, root, out, sheet)
        typer.echo(f"wrote {len(written)} sheets to {sheet}")
    else:
        make_faces(trials, root, stage, out)


@app.command()
def finetune_backbone(
    images: Annotated[Path, typer.Argument(help="Folder of class folders with pictures.")],
    out: Annotated[Path, typer.Argument(help="Folder of the new backbone.")],
    options: OptionsJSON = "{}",
    backbone: Annotated[
        str | None, typer.Option(help="Directory or hub name to begin with, for the options'.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    checkpoint_minutes: Annotated[float, typer.Option(help="Age of the state to resume.")] = 5.0,
) -> None:
    """Teach a Swin backbone emotions from pictures of faces."""
    from milmer.backbone.options import PretrainStageOptions
    from milmer.backbone.pretraining import pretrain_backbone

    how = {"checkpoint_minutes": checkpoint_minutes}
    changes = {"backbone": {"device": device}, "pretrain": how}
    stage = _read(PretrainStageOptions, options).but(changes)
    pretrain_backbone(images, stage, out, backbone)


@app.command()
def tokens(
    faces: Annotated[Path, typer.Option("--faces", help="The subject's face crops.")],
    out: Out,
    options: OptionsJSON = "{}",
    backbone: Annotated[
        str | None, typer.Option(help="Directory or hub name, in place of the options'.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
) -> None:
    """Turn a subject's face crops into Swin tokens."""
    from milmer.backbone.options import TokensOptions
    from milmer.backbone.tokens import make_tokens

    stage = _read(TokensOptions, options)
    chosen = stage.backbone.but({"device": device})
    make_tokens(faces, stage.but({"backbone": chosen}), out, backbone)


@app.command()
def split(
    protocol: str,
    fold: str,
    trials: Annotated[list[Path], typer.Option("--trials", help="Tables of all subjects.")],
    out: Out,
    options: OptionsJSON = "{}",
) -> None:
    """Divide segments into train, val and test."""
    from milmer.training.options import SplitOptions
    from milmer.training.splits import make_split

    make_split(trials, protocol, fold, _read(SplitOptions, options), out)


@app.command()
def train(
    split: Annotated[Path, typer.Option("--split", help="The fold's split.")],
    out: Annotated[Path, typer.Argument(help="Folder of the run.")],
    segments: Annotated[list[Path] | None, typer.Option(help="Segments of its subjects.")] = None,
    tokens: Annotated[list[Path] | None, typer.Option(help="Tokens of its subjects.")] = None,
    faces: Annotated[
        list[Path] | None, typer.Option(help="Face crops, where the backbone is trained too.")
    ] = None,
    backbone: Annotated[
        str | None, typer.Option(help="Directory or hub name, in place of the options'.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Draws weights, order and dropout.")] = 0,
    options: OptionsJSON = "{}",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    checkpoint_minutes: Annotated[float, typer.Option(help="Age of the state to resume.")] = 1.0,
) -> None:
    """Train and test one fold."""
    from milmer.training.loop import TrainOptions, train_fold

    stage = _read(TrainOptions, options)
    how = {"device": device, "checkpoint_minutes": checkpoint_minutes}
    stage = stage.but({"training": stage.training.but(how)})
    seen = faces if stage.finetune else tokens
    train_fold(split, segments or [], seen or [], stage, seed, out, backbone)


@app.command()
def explain(
    run: Annotated[Path, typer.Argument(help="Folder of the run.")],
    out: Out,
    split: Annotated[Path, typer.Option("--split", help="The fold's split.")],
    segments: Annotated[list[Path] | None, typer.Option(help="Segments of its subjects.")] = None,
    tokens: Annotated[list[Path] | None, typer.Option(help="Tokens of its subjects.")] = None,
    faces: Annotated[
        list[Path] | None, typer.Option(help="Face crops, where the backbone was trained too.")
    ] = None,
    options: OptionsJSON = "{}",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
) -> None:
    """Tell which EEG channels and which part of the face a trained model goes by."""
    from milmer.evaluation.explain import explain_run
    from milmer.evaluation.options import ExplainOptions

    stage = _read(ExplainOptions, options).but({"device": device})
    explain_run(run, split, segments or [], faces or tokens or [], stage, out)


@app.command()
def baseline(
    split: Annotated[Path, typer.Option("--split", help="The fold's split.")],
    segments: Annotated[list[Path], typer.Option("--segments", help="Those of its subjects.")],
    out: Out,
    options: OptionsJSON = "{}",
) -> None:
    """Test log band power with logistic regression on one fold."""
    from milmer.evaluation.band_power import make_baseline
    from milmer.evaluation.options import BandPowerOptions

    make_baseline(split, segments, _read(BandPowerOptions, options), out)


@app.command()
def tables(
    runs: Annotated[Path, typer.Argument(help="Folder of all runs.")],
    out: Annotated[Path, typer.Argument(help="Folder of the tables.")],
    options: OptionsJSON = "{}",
    baselines: Annotated[
        Path | None, typer.Option(help="Folder of the baselines that the options name.")
    ] = None,
) -> None:
    """Summarise all runs as tables."""
    from milmer.evaluation.runs import TablesOptions
    from milmer.evaluation.tables import make_tables

    make_tables(runs, _read(TablesOptions, options), out, baselines)


@app.command()
def report(
    results: Annotated[Path, typer.Argument(help="Folder of all results.")],
    out: Annotated[Path, typer.Argument(help="Folder of the report.")],
    options: OptionsJSON = "{}",
) -> None:
    """Show all results as one page."""
    from milmer.evaluation.report.options import ReportStageOptions
    from milmer.evaluation.report.page import make_report

    make_report(results, _read(ReportStageOptions, options), out)


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

    from milmer.deap.synthetic import TwinOptions, synthesize, write_backbone

    known = TwinOptions.model_fields
    changes = {k: v for k, v in given.items() if k in known}
    twin = _read(TwinOptions, options).model_dump() | changes
    try:
        with tqdm(desc="trials", disable=None) as bar:  # silent where stderr is no terminal

            def progress(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            synthesize(out, TwinOptions.model_validate(twin), progress)
    except ValidationError as error:
        raise _options_error(error) from error
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
    from milmer.config import Config, load

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
        load(user)
    typer.echo(config_text.documented(user, _HEADING), nl=False)


# --------------------------------------------------------------------- details

_HEADING = """\
# Milmer's configuration: what is set, and every other option commented out with its default.
# Made by `milmer config config.yaml`, which keeps what you set; `snakemake --config
# training='{epochs: 50}'` or `--configfile mine.yaml` go on top of this file.
"""


def _read(model: type, text: str) -> "object":
    try:
        return model.from_json(text)
    except ValidationError as error:
        raise _options_error(error) from error


def _options_error(error: ValidationError) -> MilmerError:
    first = error.errors()[0]
    path = ".".join(map(str, first["loc"]))
    return MilmerError(f"options: {path}: {first['msg']} (given {first['input']!r})")


_console: int | None = None  # the real stderr, while descriptor 2 goes to a log


def _send_stderr_to(log: Path) -> None:
    """Send all that is written to stderr to ``log``, also by libraries in C."""
    global _console
    log.parent.mkdir(parents=True, exist_ok=True)
    _console = os.dup(2)
    with open(log, "wb") as file:
        os.dup2(file.fileno(), 2)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
    if _console is not None:
        with contextlib.suppress(OSError):
            os.write(_console, f"{line}\n".encode())
