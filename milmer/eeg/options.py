"""The section ``eeg``: from a subject's recording to segments."""

from typing import Any, Literal

from pydantic import Field, model_validator

from milmer.data.options import RecordingOptions
from milmer.data.segmentation import SegmentationOptions
from milmer.errors import MilmerError
from milmer.options import Options


class RejectOptions(Options):
    """Which trials and segments are rejected.

    Trials with a gap or with values that are not finite always are; `eeg.layout: as_published`
    rejects nothing.
    """

    bad_channels: float = Field(
        0.25,
        ge=0,
        le=0.5,
        description="A trial is rejected if more than this share of its channels is bad: too few "
        "are left to interpolate them from. Not with `eeg.bad_channels: keep`.",
    )
    amplitude: float | None = Field(
        1000.0,
        gt=0,
        description="A segment is rejected if a channel moves more than this in µV from peak to "
        "peak after filtering, ten times as much as EEG: a loose electrode, or a body that moved.",
    )
    flat: float | None = Field(
        0.1,
        ge=0,
        description="A segment is rejected if a channel moves no more than this in µV from peak to "
        "peak, less than any amplifier's noise: it dropped out.",
    )
    marks: bool = Field(
        True,
        description="Reject segments that a mark in the recording covers: an annotation `BAD…` or "
        "a boundary.",
    )


class EEGOptions(Options):
    """From a subject's recording to segments."""

    bad_channels: Literal["interpolate", "keep"] = Field(
        "interpolate",
        description="What happens to a channel that is flat or extreme in a trial: `interpolate` "
        "replaces it by an interpolation of the others (spherical splines), `keep` only records "
        "it.",
    )
    reference: Literal["average", "as_recorded"] | list[str] = Field(
        "average",
        description="`average` subtracts the mean of all channels where the recording is not "
        "preprocessed and has at least eight of them; `as_recorded` leaves the reference of the "
        "recording; a list of channels subtracts their mean.",
    )
    artefacts: Literal["auto", "none", "eog_regression", "ica"] = Field(
        "auto",
        description="How blinks and eye movements are removed. `auto` is `none` for preprocessed "
        "recordings, from which they are removed already, and for others `ica`, or "
        "`eog_regression` if these have less than 8 channels or too few samples for an ICA.",
    )
    eog_correlation: float = Field(
        0.45,
        gt=0,
        lt=1,
        description="`artefacts: ica` removes the components whose multiple correlation with hEOG "
        "and vEOG below 10 Hz exceeds this.",
    )
    notch: float | None = Field(
        None,
        gt=0,
        description="Mains frequency in Hz, filtered out before the band-pass (zero-phase FIR of "
        "MNE's design); null for no notch filter.",
    )
    band: tuple[float, float] | None = Field(
        (1.0, 50.0),
        description="Band-pass in Hz (zero-phase FIR of MNE's design); null for no filter.",
    )
    baseline: Literal["none", "subtract", "zscore"] = Field(
        "none",
        description="`subtract` takes the mean of the 3 s before the music video from each channel "
        "of the filtered trial; `zscore` also divides by their standard deviation.",
    )
    layout: Literal["channels_by_time", "as_published"] = Field(
        "channels_by_time",
        description="`as_published` scrambles channels and time as the authors' notebook does; it "
        "requires `bad_channels: keep` and allows no artefact removal, notch or baseline.",
    )
    reject: RejectOptions = RejectOptions()

    @model_validator(mode="after")
    def _ordered(self) -> "EEGOptions":
        if self.band is not None and not 0 < self.band[0] < self.band[1]:
            raise ValueError("band: give two rising frequencies above 0 Hz")
        return self

    @model_validator(mode="after")
    def _published_whole(self) -> "EEGOptions":
        # The notebook cleans nothing, and once channels and time are mixed nothing can be cleaned.
        cleaned = {
            "artefacts": self.artefacts not in ("auto", "none"),
            "bad_channels": self.bad_channels != "keep",
            "notch": self.notch is not None,
            "baseline": self.baseline != "none",
        }
        wrong = [name for name, is_cleaned in cleaned.items() if is_cleaned]
        if self.layout == "as_published" and wrong:
            raise ValueError(
                f"layout: as_published does not go with this {' and '.join(wrong)}; set artefacts: "
                "none, bad_channels: keep, notch: null and baseline: none"
            )
        return self


Alignment = Literal["none", "euclidean"]


class AlignedEEGOptions(EEGOptions):
    """From a subject's recording to segments, and to what a model sees of them."""

    alignment: Alignment = Field(
        "none",
        description="`euclidean` multiplies each subject's EEG, each session's where there are "
        "several, so that the mean covariance of its channels is the unit matrix (He and Wu "
        "2020): by its training segments, or by all of it where none trains. No label is looked "
        "at. Baselines do without.",
    )

    @model_validator(mode="after")
    def _channels_to_align(self) -> "AlignedEEGOptions":
        if self.alignment != "none" and self.layout == "as_published":
            raise ValueError("alignment: layout as_published has no channels to align")
        return self


def require_below_nyquist(option: str, frequency: float, sfreq: float) -> None:
    """Refuse a ``frequency`` in Hz that is not below half the rate ``sfreq``."""
    if frequency >= sfreq / 2:
        raise MilmerError(
            f"{frequency:g} Hz is not below half the sampling rate of {sfreq:g} Hz",
            where=option,
            remedy="set a lower frequency, or null",
        )


class SegmentsOptions(Options):
    """What the stage ``segments`` depends on."""

    eeg: EEGOptions = EEGOptions()
    segmentation: SegmentationOptions = SegmentationOptions()
    recording: RecordingOptions | None = None  # of a manifest; DEAP's files say it themselves

    def result(self) -> dict[str, Any]:
        """Everything that can change the result, without ``recording`` where there is none."""
        options = super().result()
        return {k: v for k, v in options.items() if k != "recording" or v is not None}

    @model_validator(mode="after")
    def _published_rule(self) -> "SegmentsOptions":
        if self.eeg.layout == "as_published" and self.segmentation.overlap:
            raise ValueError("segmentation.overlap: must be 0 with eeg.layout as_published")
        return self
