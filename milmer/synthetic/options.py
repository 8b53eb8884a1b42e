"""Options of the synthetic twin, and its random numbers."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from milmer.data.options import subject_name
from milmer.options import Options

PERIOD = 3.0
"""Period in s of the fingerprint's waveform, and length of a bag in s."""

PLAN, GAP, TRAITS, NOISES, PRINT, FACE, FRAMES = range(7)  # kinds of random numbers


class TwinOptions(Options):
    """Options of ``milmer synth``."""

    subjects: int = Field(2, ge=1, le=32, description="number of subjects: s01, s02, …")
    trials: int = Field(16, ge=1, le=99, description="trials of each subject; 40 in DEAP")
    seconds: float = Field(
        12, ge=3, le=600, description="length of a trial after its 3 s baseline; 60 in DEAP"
    )
    seed: int = Field(0, ge=0, description="seed of all random numbers")
    formats: list[Literal["dat", "mat", "bdf"]] = Field(
        ["dat"], min_length=1, description="kinds of EEG file to write"
    )
    eeg_signal: float = Field(
        1, ge=0, le=10, description="strength of the class in the EEG; 0 is none"
    )
    eeg_class: Literal["band", "place"] = Field(
        "band",
        description="how the EEG shows the class: by which band is strong, or by where alpha is",
    )
    face_signal: float = Field(
        1,
        ge=0,
        le=2,
        description="strength of the class in the faces; 0 is none, above 1 Haar misses some",
    )
    fingerprint: float = Field(
        0,
        ge=0,
        le=2,
        description="strength of what identifies a trial, in both; above 1 some faces are missed",
    )
    signal_channels: int | None = Field(
        None,
        ge=1,
        le=32,
        description="channels that carry the class, from the back; null is all",
    )
    informative: float = Field(
        0.3, ge=0, le=1, description="fraction of the frames that show the class"
    )
    faceless: float = Field(0.03, ge=0, le=0.9, description="fraction of the frames without a face")
    missing_clips: list[str] = Field(
        [], description="clips to leave out, as subject:trial, such as s01:3"
    )
    no_video: list[Annotated[int, Field(ge=1, le=32)]] = Field(
        [], description="subjects without any video"
    )
    video_missing: float = Field(
        0.95, ge=0, description="seconds by which a clip is shorter than its EEG"
    )
    width: int = Field(720, ge=64, le=1920, multiple_of=2, description="width of the video in px")
    height: int = Field(576, ge=64, le=1080, multiple_of=2, description="height of the video in px")
    fps: int = Field(50, ge=1, le=120, description="video frames per second")

    @field_validator("missing_clips")
    @classmethod
    def _name_clips(cls, clips: list[str]) -> list[str]:
        named = []
        for clip in clips:
            subject, _, trial = clip.partition(":")
            if not trial.isdigit():
                raise ValueError(f"{clip!r} is not a clip; write subject:trial, such as s01:3")
            named.append(f"{subject_name(subject)}:{int(trial)}")
        return named

    @model_validator(mode="after")
    def _leave_video(self) -> "TwinOptions":
        if self.video_missing >= self.seconds:
            raise ValueError(f"video_missing: must be less than seconds ({self.seconds:g})")
        return self

    @model_validator(mode="after")
    def _spare_places(self) -> "TwinOptions":
        if self.eeg_class == "place" and self.signal_channels is not None:
            raise ValueError("signal_channels: requires eeg_class band: a place has its channels")
        return self


def generator(options: TwinOptions, subject: int, trial: int, kind: int) -> np.random.Generator:
    """Random numbers of a subject's trial, which depend on no other trial and on no order."""
    return np.random.default_rng([options.seed, subject, trial, kind])
