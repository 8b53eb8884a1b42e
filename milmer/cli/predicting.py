"""The command that predicts emotions in a new recording."""

from pathlib import Path
from typing import Annotated

import typer

from milmer.cli.app import RESULTS, app
from milmer.runtime.gpus import gpu_lease


@app.command(rich_help_panel=RESULTS)
def predict(
    model: Annotated[Path, typer.Argument(help="Folder of a run, or the folder model/ in it.")],
    out: Annotated[Path, typer.Argument(help="Folder of the predictions.")],
    like: Annotated[
        Path | None,
        typer.Option(help="Prepare recordings as this run does; for a converted checkpoint."),
    ] = None,
    eeg: Annotated[
        Path | None, typer.Option("--eeg", help="EEG in any format that MNE reads, or DEAP's.")
    ] = None,
    video: Annotated[Path | None, typer.Option("--video", help="Video of the face.")] = None,
    offset: Annotated[
        float | None, typer.Option(help="Start of the video in the EEG, in s; default 0.")
    ] = None,
    start: Annotated[
        float | None, typer.Option(help="Start of the predictions, in s of the EEG.")
    ] = None,
    stop: Annotated[
        float | None, typer.Option(help="End of the predictions, in s of the EEG.")
    ] = None,
    trial: Annotated[
        int | None, typer.Option(min=1, help="Trial in a .dat or .mat of DEAP.")
    ] = None,
    trials: Annotated[
        Path | None,
        typer.Option(help="Predict all trials of a subject's table, instead of --eeg and --video."),
    ] = None,
    root: Annotated[Path | None, typer.Option(help="Folder of the dataset, for --trials.")] = None,
    face: Annotated[
        str | None,
        typer.Option(
            help="Which of several people in the video: left, right, or a box in px as "
            "'LEFT TOP WIDTH HEIGHT'; default: who is seen longest and largest."
        ),
    ] = None,
    detection_size: Annotated[
        int | None,
        typer.Option(help="px of pictures searched for faces; default: as in training."),
    ] = None,
    second_detection_size: Annotated[
        int | None,
        typer.Option(help="px of the second search, for small faces; default: as in training."),
    ] = None,
    backbone: Annotated[
        str | None, typer.Option(help="Directory or hub name of the backbone used in training.")
    ] = None,
    detector_model: Annotated[
        str | None, typer.Option(help="The face detector's model file.")
    ] = None,
    missing_channels: Annotated[
        str | None,
        typer.Option(help="refuse or interpolate; default: as in training.", metavar="WHAT"),
    ] = None,
    without_eog: Annotated[
        bool, typer.Option("--without-eog", help="Do not remove eye artefacts, if there is no EOG.")
    ] = False,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")] = "auto",
) -> None:
    """Predict emotions in a recording: one row per segment, a timeline and a page."""
    from pydantic import ValidationError

    from milmer.options import options_error
    from milmer.prediction.options import PredictOptions

    try:
        options = PredictOptions(
            offset=offset,
            start=start,
            stop=stop,
            trial=trial,
            missing_channels=missing_channels,
            use_eog=not without_eog,
            face=face,
            detection_size=detection_size,
            second_detection_size=second_detection_size,
            backbone=backbone,
            detector_model=detector_model,
            device=device,
        )
    except ValidationError as error:
        raise options_error(PredictOptions, error) from error
    with gpu_lease(device):  # before anything imports torch
        from milmer.prediction.predict import RecordingFiles, predict

        predict(model, RecordingFiles(eeg, video, trials, root), options, out, like)
    typer.echo(f"wrote {out}: predictions.parquet, predictions.csv, timeline.svg, index.html")
