"""Commands that the rules run: one stage each, from files and options to a file.

Every command imports its stage only when it is called.
"""

from pathlib import Path
from typing import Annotated

import typer

from milmer.cli.app import OptionsJSON, app
from milmer.errors import MilmerError
from milmer.options import read_options
from milmer.runtime.gpus import gpu_lease

Root = Annotated[Path, typer.Option("--root", help="Folder of the dataset.")]
Trials = Annotated[Path, typer.Option("--trials", help="The subject's table of trials.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
JobsPerGPU = Annotated[
    int, typer.Option("--jobs-per-gpu", min=1, help="Jobs like this one that may share a GPU.")
]
Out = Annotated[Path, typer.Argument(help="File to write.")]


@app.command()
def trials(
    subject: str,
    out: Out,
    root: Annotated[Path | None, typer.Option(help="Folder of a copy of DEAP.")] = None,
    manifest: Annotated[Path | None, typer.Option(help="Table of a lab's own trials.")] = None,
    options: OptionsJSON = "{}",
) -> None:
    """Join a subject's ratings, EEG and videos into one table."""
    if manifest is not None:
        from milmer.manifest.trials import ManifestTrialsOptions, make_manifest_trials

        rows = read_options(ManifestTrialsOptions, options)
        make_manifest_trials(manifest, subject, rows, out)
        return
    if root is None:
        raise MilmerError("give --root, a copy of DEAP, or --manifest")
    from milmer.deap.trials import TrialsOptions, make_trials

    make_trials(root, subject, read_options(TrialsOptions, options), out)


@app.command()
def segments(trials: Trials, out: Out, root: Root, options: OptionsJSON = "{}") -> None:
    """Filter a subject's EEG and cut it into segments."""
    from milmer.eeg.options import SegmentsOptions
    from milmer.eeg.segments import make_segments

    stage = read_options(SegmentsOptions, options)
    if stage.recording is None:
        from milmer.deap.recordings import read_recording
    else:
        from milmer.manifest.recordings import read_recording
    make_segments(trials, root, stage, out, read_recording)


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
    stage = read_options(FaceStageOptions, options).updated({"faces": how})
    subject = [given for given in (trials, root, out) if given is not None]
    if video is not None and sheet is not None and not subject:
        from milmer.faces.contact_sheet import draw_video_sheet

        draw_video_sheet(video, stage, sheet)
        typer.echo(f"wrote {sheet}")
    elif video is not None or len(subject) < 3:
        raise MilmerError("faces: give OUT, --trials and --root, or --video and --sheet")
    elif sheet is not None:
        from milmer.faces.contact_sheet import draw_subject_sheets

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
    device: Device = "auto",
    jobs_per_gpu: JobsPerGPU = 1,
    checkpoint_minutes: Annotated[float, typer.Option(help="Age of the state to resume.")] = 5.0,
) -> None:
    """Teach a Swin backbone emotions from pictures of faces."""
    with gpu_lease(device, jobs_per_gpu):  # before anything imports torch
        from milmer.backbone.options import PretrainStageOptions
        from milmer.backbone.pretraining import pretrain_backbone

        how = {"checkpoint_minutes": checkpoint_minutes}
        changes = {"backbone": {"device": device}, "pretrain": how}
        stage = read_options(PretrainStageOptions, options).updated(changes)
        pretrain_backbone(images, stage, out, backbone)


@app.command()
def tokens(
    faces: Annotated[Path, typer.Option("--faces", help="The subject's face crops.")],
    out: Out,
    options: OptionsJSON = "{}",
    backbone: Annotated[
        str | None, typer.Option(help="Directory or hub name, in place of the options'.")
    ] = None,
    device: Device = "auto",
    jobs_per_gpu: JobsPerGPU = 1,
) -> None:
    """Turn a subject's face crops into Swin tokens."""
    with gpu_lease(device, jobs_per_gpu):  # before anything imports torch
        from milmer.backbone.options import TokensOptions
        from milmer.backbone.tokens import make_tokens

        stage = read_options(TokensOptions, options)
        chosen = stage.backbone.updated({"device": device})
        make_tokens(faces, stage.updated({"backbone": chosen}), out, backbone)


@app.command()
def split(
    protocol: str,
    fold: str,
    trials: Annotated[list[Path], typer.Option("--trials", help="Tables of all subjects.")],
    out: Out,
    options: OptionsJSON = "{}",
) -> None:
    """Divide segments into train, val and test."""
    from milmer.splits.options import SplitOptions
    from milmer.splits.splits import make_split

    make_split(trials, protocol, fold, read_options(SplitOptions, options), out)


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
    device: Device = "auto",
    jobs_per_gpu: JobsPerGPU = 1,
    checkpoint_minutes: Annotated[float, typer.Option(help="Age of the state to resume.")] = 1.0,
) -> None:
    """Train and test one fold."""
    with gpu_lease(device, jobs_per_gpu):  # before anything imports torch
        from milmer.training.loop import train_fold
        from milmer.training.options import TrainOptions

        stage = read_options(TrainOptions, options)
        how = {
            "device": device,
            "jobs_per_gpu": jobs_per_gpu,
            "checkpoint_minutes": checkpoint_minutes,
        }
        stage = stage.updated({"training": stage.training.updated(how)})
        seen = faces if stage.finetune else tokens
        train_fold(split, segments or [], seen or [], stage, seed, out, backbone)


@app.command()
def evaluate(
    runs: Annotated[Path, typer.Argument(help="Folder of an experiment's runs under a protocol.")],
    out: Out,
    options: OptionsJSON = "{}",
) -> None:
    """Compute the metrics and write the model cards of trained runs."""
    from milmer.evaluation.evaluate import evaluate_runs
    from milmer.evaluation.evaluate_options import EvaluateOptions

    evaluate_runs(runs, read_options(EvaluateOptions, options), out)


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
    device: Device = "auto",
    jobs_per_gpu: JobsPerGPU = 1,
) -> None:
    """Tell which EEG channels and which part of the face a trained model goes by."""
    with gpu_lease(device, jobs_per_gpu):  # before anything imports torch
        from milmer.evaluation.explain import explain_run
        from milmer.evaluation.explain_options import ExplainOptions

        stage = read_options(ExplainOptions, options).updated({"device": device})
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
    from milmer.evaluation.band_power_options import BandPowerOptions

    make_baseline(split, segments, read_options(BandPowerOptions, options), out)


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

    make_tables(runs, read_options(TablesOptions, options), out, baselines)


@app.command()
def report(
    results: Annotated[Path, typer.Argument(help="Folder of all results.")],
    out: Annotated[Path, typer.Argument(help="Folder of the report.")],
    options: OptionsJSON = "{}",
) -> None:
    """Show all results as one page."""
    from milmer.evaluation.report.options import ReportStageOptions
    from milmer.evaluation.report.page import make_report

    make_report(results, read_options(ReportStageOptions, options), out)
