"""Cleans a subject's EEG: bad channels, then the reference, then eye artefacts.

Each step is a matrix over channels (and EOG) that is the same at every sample of a trial, so the
filters along time may follow. A report of what was found and done is returned beside the trials,
because a reviewer asks for it.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from milmer.eeg.artefacts import Removal, eog_regression, ica
from milmer.eeg.bad_channels import find_bad_channels
from milmer.eeg.options import EEGOptions
from milmer.errors import MilmerError
from milmer.readers.channels import MOST_INTERPOLATED, interpolation


class TooManyBadChannels(MilmerError):
    """More channels of a trial are bad than can be interpolated from the others."""


def clean(
    eeg: Mapping[int, np.ndarray],
    eog: Mapping[int, np.ndarray] | None,
    channels: list[str],
    sfreq: float,
    referenced: bool,
    options: EEGOptions,
    removal: Removal | None = None,
) -> tuple[dict[int, np.ndarray], dict[str, Any]]:
    """Clean all trials of one subject according to ``options``.

    ``eeg`` maps experiment_id to (channel, sample) in µV at ``sfreq`` Hz, the whole trial with its
    baseline; ``eog`` maps it to hEOG and vEOG (2, sample) in µV, bipolar, or is None. Trials may
    differ in length. ``referenced`` says that the average reference has been taken and the EOG
    removed already, as in DEAP's preprocessed files. ``channels`` are names of the 10–20 system.

    Bad channels are interpolated in the trials in which they are bad; the average reference is
    taken where there was none or a channel was interpolated; then eye artefacts are removed. A
    trial that needs none of this is returned as the same array. ``removal``, of
    :func:`fitted_removal`, serves recordings that are cleaned part by part; without it one is
    fitted.

    Returns the trials and a report of plain JSON values: ``bad_channels`` (channel, why, in which
    trials, what was done), ``average_reference`` (the experiment_ids for which it was taken),
    ``artefacts`` (the method) and that method's own report. Raises :class:`TooManyBadChannels` if
    more than a quarter of a trial's channels would have to be interpolated, and
    :class:`MilmerError` if the method needs EOG that is missing or flat.
    """
    method = chosen_method(referenced, options)
    # The number of threads decides the order of summation, and ICA would amplify the difference.
    with threadpool_limits(1):
        cleaned, report = _repair(eeg, channels, referenced, options)
        method_report: dict[str, Any] = {}
        if removal is None:
            removal, method_report = _fit(cleaned, eog, channels, sfreq, method, options)
        if removal is not None:
            cleaned = {e: removal(trial, eog and eog[e]) for e, trial in cleaned.items()}
    return cleaned, {**report, "artefacts": method, **method_report}


def chosen_method(referenced: bool, options: EEGOptions) -> str:
    """The method that removes eye artefacts: ``eeg.artefacts``, with ``auto`` resolved."""
    if options.artefacts == "auto":
        return "none" if referenced else "eog_regression"
    return options.artefacts


def fitted_removal(
    eeg: Mapping[int, np.ndarray],
    eog: Mapping[int, np.ndarray] | None,
    channels: list[str],
    sfreq: float,
    referenced: bool,
    options: EEGOptions,
) -> tuple[Removal | None, dict[str, Any]]:
    """The removal of eye artefacts fitted on these parts of a recording, and its report.

    It is the one that :func:`clean` would fit, from the same arguments; None with the method none.
    """
    method = chosen_method(referenced, options)
    with threadpool_limits(1):
        repaired, _ = _repair(eeg, channels, referenced, options)
        removal, method_report = _fit(repaired, eog, channels, sfreq, method, options)
    return removal, {"artefacts": method, **method_report}


def _repair(
    eeg: Mapping[int, np.ndarray], channels: list[str], referenced: bool, options: EEGOptions
) -> tuple[dict[int, np.ndarray], dict[str, Any]]:
    """Interpolate bad channels and take the average reference; returns trials and a report."""
    bad = find_bad_channels(eeg, channels)
    interpolated = dict(bad) if options.bad_channels == "interpolate" else {}
    _refuse_too_many(interpolated, channels)
    repaired = dict(eeg)
    for e, reasons in interpolated.items():
        repaired[e] = interpolation(tuple(channels), tuple(reasons)) @ eeg[e]
    averaged = [e for e in eeg if not referenced or e in interpolated]
    for e in averaged:
        repaired[e] = repaired[e] - repaired[e].mean(axis=0)
    return repaired, {
        "bad_channels": _by_reason(bad, "interpolated" if interpolated else "kept"),
        "average_reference": [int(e) for e in averaged],
    }


def _fit(
    eeg: Mapping[int, np.ndarray],
    eog: Mapping[int, np.ndarray] | None,
    channels: list[str],
    sfreq: float,
    method: str,
    options: EEGOptions,
) -> tuple[Removal | None, dict[str, Any]]:
    if method == "ica":
        return ica(eeg, eog, channels, sfreq, options.eog_correlation)
    if method == "eog_regression":
        return eog_regression(eeg, eog, channels, sfreq)
    return None, {}


def _refuse_too_many(bad: Mapping[int, Mapping[str, str]], channels: list[str]) -> None:
    for experiment_id, reasons in bad.items():
        if len(reasons) > MOST_INTERPOLATED * len(channels):
            names = ", ".join(f"{name} ({reason})" for name, reason in reasons.items())
            raise TooManyBadChannels(
                f"{len(reasons)} of {len(channels)} channels are bad, too many to interpolate: "
                f"{names}",
                where=f"EEG of experiment_id {experiment_id}",
                remedy="leave the subject out (dataset.subjects) or set eeg.bad_channels to keep",
            )


def _by_reason(bad: Mapping[int, Mapping[str, str]], done: str) -> list[dict[str, Any]]:
    """One row per bad channel and reason, with the trials in which it is bad for that reason."""
    trials: dict[tuple[str, str], list[int]] = {}
    for experiment_id, reasons in bad.items():
        for channel_and_reason in reasons.items():
            trials.setdefault(channel_and_reason, []).append(int(experiment_id))
    return [
        {"channel": name, "why": reason, "experiment_ids": experiment_ids, "done": done}
        for (name, reason), experiment_ids in trials.items()
    ]
