"""Cleaning a subject's EEG: bad channels, reference, eyes, in this order.

Each step is a matrix over channels (and EOG), the same at all samples of a trial, so the filters
along time may come afterwards. What was found and done is returned beside the trials, because a
reviewer asks for it.
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
    """More of a trial's channels are bad than the others can stand in for."""


def clean(
    eeg: Mapping[int, np.ndarray],
    eog: Mapping[int, np.ndarray] | None,
    channels: list[str],
    sfreq: float,
    referenced: bool,
    options: EEGOptions,
    removal: Removal | None = None,
) -> tuple[dict[int, np.ndarray], dict[str, Any]]:
    """Clean all trials of one subject as ``options`` says.

    ``eeg`` maps experiment_id to (channel, sample) in µV at ``sfreq`` Hz, the whole trial with
    its baseline, and ``eog`` to hEOG and vEOG (2, sample) in µV, bipolar, or is None. Trials may
    differ in length. ``referenced`` says that the average reference was taken and the EOG removed
    already, as in DEAP's preprocessed files. ``channels`` are names of the 10–20 system.

    Bad channels are found and interpolated in the trials in which they are bad; the average
    reference is taken where there was none or a channel was interpolated; then eye artefacts are
    removed. A trial with nothing to do comes back as the same array. ``removal`` is that of
    :func:`fitted_removal`, where a recording is cleaned part by part; without it one is fitted.

    Returns the trials and a report of plain JSON values: ``bad_channels`` (channel, why, in which
    trials, what was done), ``average_reference`` (the experiment_ids where it was taken),
    ``artefacts`` (the method) and what that method reports. Raises :class:`MilmerError` where
    more than a quarter of a trial's channels are to be interpolated, or where a method needs EOG
    that is not there.
    """
    method = chosen_method(referenced, options)
    # The number of threads decides the order of summing, and ICA would carry that far.
    with threadpool_limits(1):
        cleaned, report = _repaired(eeg, channels, referenced, options)
        about: dict[str, Any] = {}
        if removal is None:
            removal, about = _fitted(cleaned, eog, channels, sfreq, method, options)
        if removal is not None:
            cleaned = {e: removal(trial, eog and eog[e]) for e, trial in cleaned.items()}
    return cleaned, {**report, "artefacts": method, **about}


def chosen_method(referenced: bool, options: EEGOptions) -> str:
    """How eye artefacts are removed: what ``auto`` stands for."""
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
    """What takes out eye artefacts, fitted on these parts of a recording, and what it is.

    The same that :func:`clean` fits, from the same arguments; None where nothing is to be removed.
    """
    method = chosen_method(referenced, options)
    with threadpool_limits(1):
        mended, _ = _repaired(eeg, channels, referenced, options)
        removal, about = _fitted(mended, eog, channels, sfreq, method, options)
    return removal, {"artefacts": method, **about}


def _repaired(
    eeg: Mapping[int, np.ndarray], channels: list[str], referenced: bool, options: EEGOptions
) -> tuple[dict[int, np.ndarray], dict[str, Any]]:
    """Trials with their bad channels interpolated and the average reference, and what was done."""
    bad = find_bad_channels(eeg, channels)
    repaired = dict(bad) if options.bad_channels == "interpolate" else {}
    _refuse_too_many(repaired, channels)
    mended = dict(eeg)
    for e, why in repaired.items():
        mended[e] = interpolation(tuple(channels), tuple(why)) @ eeg[e]
    averaged = [e for e in eeg if not referenced or e in repaired]
    for e in averaged:
        mended[e] = mended[e] - mended[e].mean(axis=0)
    return mended, {
        "bad_channels": _listed(bad, "interpolated" if repaired else "kept"),
        "average_reference": [int(e) for e in averaged],
    }


def _fitted(
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
    for experiment_id, why in bad.items():
        if len(why) > MOST_INTERPOLATED * len(channels):
            named = ", ".join(f"{name} ({reason})" for name, reason in why.items())
            raise TooManyBadChannels(
                f"EEG of experiment_id {experiment_id}: {len(why)} of {len(channels)} channels are "
                f"bad, too many to interpolate: {named}; leave the subject out (dataset.subjects) "
                "or set eeg.bad_channels to keep"
            )


def _listed(bad: Mapping[int, Mapping[str, str]], done: str) -> list[dict[str, Any]]:
    """Each bad channel once for each reason, with the trials in which it is."""
    trials: dict[tuple[str, str], list[int]] = {}
    for experiment_id, why in bad.items():
        for item in why.items():
            trials.setdefault(item, []).append(int(experiment_id))
    return [
        {"channel": name, "why": reason, "experiment_ids": where, "done": done}
        for (name, reason), where in trials.items()
    ]
