"""Commands that the rules run: one stage each, from files and options to a file.

A command imports its stage when it is called.
"""

from pathlib import Path
from typing import Annotated

import typer

from milmer.cli.app import RESULTS, STAGES, TOOLS, OptionsJSON, app
from milmer.errors import MilmerError
from milmer.options import read_options
from milmer.runtime.gpus import gpu_lease

Root = Annotated[Path, typer.Option("--root", help="Folder of the dataset.")]
Trials = Annotated[Path, typer.Option("--trials", help="The subject's table of trials.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
JobsPerGPU = Annotated[
    int, typer.Option("--jobs-per-gpu", min=1, help="Number of jobs that may share a GPU.")
]
FoldSegments = Annotated[list[Path] | None, typer.Option(help="Segments of the fold's subjects.")]
FoldTokens = Annotated[list[Path] | None, typer.Option(help="Tokens of the fold's subjects.")]
Out = Annotated[Path, typer.Argument(help="File to write.")]


@app.command(rich_help_panel=STAGES)
def trials(
    subject: Annotated[str, typer.Argument(help="Name of the subject, such as s01.")],
    out: Out,
    root: Annotated[Path | None, typer.Option(help="Folder of a copy of DEAP.")] = None,
    manifest: Annotated[Path | None, typer.Option(help="Manifest of your own recordings.")] = None,
    options: OptionsJSON = "{}",
) -> None:
    """Join a subject's ratings, EEG and videos into one table."""
    if manifest is not None:
        from milmer.manifest.trials import ManifestTrialsOptions, make_manifest_trials

        rows = read_options(ManifestTrialsOptions, options)
        make_manifest_trials(manifest, subject, rows, out)
        return
    if root is None:
        raise MilmerError("no dataset", where="trials", remedy="give --root or --manifest")
    from milmer.deap.trials import TrialsOptions, make_trials

    make_trials(root, subject, read_options(TrialsOptions, options), out)


@app.command(rich_help_panel=STAGES)
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


@app.command(rich_help_panel=STAGES)
def faces(
    out: Annotated[
        Path | None, typer.Argument(help="File to write; with --sheet: to read.")
    ] = None,
    trials: Annotated[Path | None, typer.Option(help="The subject's table of trials.")] = None,
    root: Annotated[Path | None, typer.Option(help="Folder of the dataset.")] = None,
    options: OptionsJSON = "{}",
    threads: Annotated[int, typer.Option(help="Threads for decoding and detection.")] = 2,
    detector_model: Annotated[str | None, typer.Option(help="The detector's model file.")] = None,
    sheet: Annotated[
        Path | None,
        typer.Option(
            help="Draw contact sheets of the detection instead of cropping: of --video to this "
            "PNG, or of all clips in a finished OUT to this folder. They show people's faces."
        ),
    ] = None,
    video: Annotated[Path | None, typer.Option(help="Video to draw a --sheet of.")] = None,
    face: Annotated[
        str | None,
        typer.Option(help="Which of several people in --video, as in a manifest's column face."),
    ] = None,
) -> None:
    """Crop the faces in a subject's videos, or draw contact sheets of their detection."""
    from milmer.faces.crops import make_faces
    from milmer.faces.options import FaceStageOptions

    how = {"threads": threads} | ({"detector_model": detector_model} if detector_model else {})
    stage = read_options(FaceStageOptions, options).updated({"faces": how})
    inputs = [path for path in (trials, root, out) if path is not None]
    if video is not None and sheet is not None and not inputs:
        from milmer.faces.contact_sheet import draw_video_sheet

        draw_video_sheet(video, stage, sheet, face)
        typer.echo(f"wrote {sheet}")
    elif video is not None or len(inputs) < 3:
        raise MilmerError(
            "arguments are missing or cannot be combined",
            where="faces",
            remedy="give OUT, --trials and --root, or --video and --sheet",
        )
    elif sheet is not None:
        from milmer.faces.contact_sheet import draw_subject_sheets

        sheets = draw_subject_sheets(trials, root, out, sheet)
        typer.echo(f"wrote {len(sheets)} sheets to {sheet}")
    else:
        make_faces(trials, root, stage, out)


@app.command(rich_help_panel=TOOLS)
def finetune_backbone(
    images: Annotated[Path, typer.Argument(help="Folder with one folder of pictures per class.")],
    out: Annotated[Path, typer.Argument(help="Folder of the new backbone.")],
    options: OptionsJSON = "{}",
    backbone: Annotated[
        str | None,
        typer.Option(help="Directory or hub name of the first weights; default: the options'."),
    ] = None,
    device: Device = "auto",
    jobs_per_gpu: JobsPerGPU = 1,
    checkpoint_minutes: Annotated[float, typer.Option(help="Minutes between checkpoints.")] = 5.0,
) -> None:
    """Fine-tune a backbone on pictures of facial expressions."""
    with gpu_lease(device, jobs_per_gpu):  # before anything imports torch
        from milmer.backbone.options import PretrainStageOptions
        from milmer.backbone.pretraining import pretrain_backbone

        how = {"checkpoint_minutes": checkpoint_minutes}
        changes = {"backbone": {"device": device}, "pretrain": how}
        stage = read_options(PretrainStageOptions, options).updated(changes)
        pretrain_backbone(images, stage, out, backbone)


@app.command(rich_help_panel=STAGES)
def tokens(
    faces: Annotated[Path, typer.Option("--faces", help="The subject's face crops.")],
    out: Out,
    options: OptionsJSON = "{}",
    backbone: Annotated[
        str | None, typer.Option(help="Directory or hub name; default: the options'.")
    ] = None,
    device: Device = "auto",
    jobs_per_gpu: JobsPerGPU = 1,
) -> None:
    """Encode a subject's face crops as tokens."""
    with gpu_lease(device, jobs_per_gpu):  # before anything imports torch
        from milmer.backbone.options import TokensOptions
        from milmer.backbone.tokens import make_tokens

        stage = read_options(TokensOptions, options)
        chosen = stage.backbone.updated({"device": device})
        make_tokens(faces, stage.updated({"backbone": chosen}), out, backbone)


@app.command(rich_help_panel=STAGES)
def split(
    protocol: Annotated[str, typer.Argument(help="How data is split: trial, session, loso, …")],
    fold: Annotated[
        str, typer.Argument(help="Which part is tested: a number, or a subject under loso.")
    ],
    trials: Annotated[list[Path], typer.Option("--trials", help="Tables of all subjects' trials.")],
    out: Out,
    options: OptionsJSON = "{}",
) -> None:
    """Split segments into train, val and test."""
    from milmer.splits.options import SplitOptions
    from milmer.splits.splits import make_split

    make_split(trials, protocol, fold, read_options(SplitOptions, options), out)


@app.command(rich_help_panel=STAGES)
def train(
    split: Annotated[Path, typer.Option("--split", help="The fold's split.")],
    out: Annotated[Path, typer.Argument(help="Folder of the run.")],
    segments: FoldSegments = None,
    tokens: FoldTokens = None,
    faces: Annotated[
        list[Path] | None, typer.Option(help="Face crops, if the backbone is trained too.")
    ] = None,
    backbone: Annotated[
        str | None, typer.Option(help="Directory or hub name; default: the options'.")
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option(help="Run or model to continue from; default: the options'."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights, order and dropout.")] = 0,
    options: OptionsJSON = "{}",
    device: Device = "auto",
    jobs_per_gpu: JobsPerGPU = 1,
    checkpoint_minutes: Annotated[float, typer.Option(help="Minutes between checkpoints.")] = 1.0,
) -> None:
    """Train and test a model on one fold."""
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
        train_fold(split, segments or [], seen or [], stage, seed, out, backbone, init)


@app.command(rich_help_panel=STAGES)
def evaluate(
    runs: Annotated[Path, typer.Argument(help="Folder of an experiment's runs under a protocol.")],
    out: Out,
    options: OptionsJSON = "{}",
) -> None:
    """Compute the metrics and write the model cards of trained runs."""
    from milmer.evaluation.evaluate import evaluate_runs
    from milmer.evaluation.evaluate_options import EvaluateOptions

    evaluate_runs(runs, read_options(EvaluateOptions, options), out)


@app.command(rich_help_panel=STAGES)
def explain(
    run: Annotated[Path, typer.Argument(help="Folder of the run.")],
    out: Out,
    split: Annotated[Path, typer.Option("--split", help="The fold's split.")],
    segments: FoldSegments = None,
    tokens: FoldTokens = None,
    faces: Annotated[
        list[Path] | None, typer.Option(help="Face crops, if the backbone was trained too.")
    ] = None,
    options: OptionsJSON = "{}",
    device: Device = "auto",
    jobs_per_gpu: JobsPerGPU = 1,
) -> None:
    """Explain which EEG channels and which part of the face a trained model uses."""
    with gpu_lease(device, jobs_per_gpu):  # before anything imports torch
        from milmer.evaluation.explain import explain_run
        from milmer.evaluation.explain_options import ExplainOptions

        stage = read_options(ExplainOptions, options).updated({"device": device})
        explain_run(run, split, segments or [], faces or tokens or [], stage, out)


@app.command(rich_help_panel=STAGES)
def baseline(
    splits: Annotated[Path, typer.Argument(help="Folder of a protocol's splits.")],
    out: Annotated[Path, typer.Argument(help="Folder of all baselines.")],
    segments: Annotated[
        list[Path] | None, typer.Option("--segments", help="Segments of all subjects.")
    ] = None,
    tokens: Annotated[list[Path] | None, typer.Option(help="Tokens of all subjects.")] = None,
    options: OptionsJSON = "{}",
) -> None:
    """Train and test simple methods on the folds of a protocol."""
    from milmer.evaluation.baseline_options import BaselinesOptions
    from milmer.evaluation.baselines import make_baselines

    stage = read_options(BaselinesOptions, options)
    make_baselines(splits, segments or [], tokens or [], stage, out)


@app.command(rich_help_panel=STAGES)
def controls(
    splits: Annotated[Path, typer.Argument(help="Folder of a protocol's splits.")],
    out: Out,
    trials: Annotated[list[Path], typer.Option("--trials", help="Tables of all subjects' trials.")],
    segments: Annotated[
        list[Path] | None, typer.Option("--segments", help="Segments of all subjects.")
    ] = None,
    tokens: Annotated[list[Path] | None, typer.Option(help="Tokens of all subjects.")] = None,
    options: OptionsJSON = "{}",
) -> None:
    """Test what permuted labels and priors reach on the folds of a protocol."""
    from milmer.evaluation.control_options import ControlsOptions
    from milmer.evaluation.controls import make_controls

    stage = read_options(ControlsOptions, options)
    make_controls(splits, trials, segments or [], tokens or [], stage, out)


@app.command(rich_help_panel=STAGES)
def tables(
    runs: Annotated[Path, typer.Argument(help="Folder of all runs.")],
    out: Annotated[Path, typer.Argument(help="Folder of the tables.")],
    options: OptionsJSON = "{}",
    baselines: Annotated[
        Path | None, typer.Option(help="Folder of the baselines in the options.")
    ] = None,
    controls: Annotated[
        Path | None, typer.Option(help="Folder of the controls in the options.")
    ] = None,
) -> None:
    """Summarise all runs in tables."""
    from milmer.evaluation.runs import TablesOptions
    from milmer.evaluation.tables import make_tables

    make_tables(runs, read_options(TablesOptions, options), out, baselines, controls)


@app.command(rich_help_panel=RESULTS)
def report(
    results: Annotated[Path, typer.Argument(help="Folder of all results.")],
    out: Annotated[Path, typer.Argument(help="Folder of the report.")],
    options: OptionsJSON = "{}",
) -> None:
    """Write all results to one page."""
    from milmer.evaluation.report.options import ReportStageOptions
    from milmer.evaluation.report.page import make_report

    make_report(results, read_options(ReportStageOptions, options), out)
