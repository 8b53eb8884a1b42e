"""Cleans a subject's EEG: bad channels, then the reference, then eye artefacts.

Each step is a matrix over channels (and EOG) that is the same at every sample of a trial, so the
filters along time may follow. A report of what was found and done is returned beside the trials,
because a reviewer asks for it.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from milmer.eeg.artefacts import Removal, eog_regression, ica
from milmer.eeg.bad_channels import find_bad_channels
from milmer.eeg.options import EEGOptions
from milmer.errors import MilmerError
from milmer.readers.channels import (
    Positions,
    can_interpolate,
    interpolation,
    without_position,
)

FEWEST_AVERAGED = 8
"""Fewer channels have no average that stands for the whole head."""

_log = logging.getLogger(__name__)


def clean(
    eeg: Mapping[int, np.ndarray],
    eog: Mapping[int, np.ndarray] | None,
    channels: list[str],
    sfreq: float,
    referenced: bool,
    options: EEGOptions,
    removal: Removal | None = None,
    bads: Mapping[int, Sequence[str]] | None = None,
    positions: Positions | None = None,
) -> tuple[dict[int, np.ndarray], dict[str, Any]]:
    """Clean all trials of one subject according to ``options``.

    ``eeg`` maps a trial to (channel, sample) in µV at ``sfreq`` Hz, the whole trial with its
    baseline; ``eog`` maps it to hEOG and vEOG (2, sample) in µV, bipolar, or is None. Trials may
    differ in length. ``referenced`` says that the average reference has been taken and the EOG
    removed already, as in DEAP's preprocessed files. ``channels`` have the ``positions`` of their
    file, or without them those of the 10–20 system; ``bads`` are those that it calls bad, by
    trial, which count with ``eeg.reject.marks``.

    Bad channels are interpolated in the trials in which they are bad; the reference is taken
    where there was none or a channel was interpolated; then eye artefacts are removed. A trial that
    needs none of this is returned as the same array. ``removal``, of :func:`fitted_removal`, serves
    recordings that are cleaned part by part; without it one is fitted.

    Returns the trials but for those with too many bad channels (``eeg.reject.bad_channels``), and a
    report of plain JSON values: ``bad_channels`` (channel, why, in which trials, what was done),
    ``reference``, ``average_reference`` (the trials for which it was taken), ``artefacts``
    (the method) and that method's own report. Raises :class:`MilmerError` if the method needs EOG
    that is missing or flat.
    """
    method = chosen_method(eeg, referenced, options)
    # The number of threads decides the order of summation, and ICA would amplify the difference.
    with threadpool_limits(1):
        cleaned, report = _repair(eeg, channels, referenced, options, bads, positions)
        method_report: dict[str, Any] = {}
        if removal is None:
            removal, method_report = _fit(cleaned, eog, channels, sfreq, method, options)
        if removal is not None:
            cleaned = {e: removal(trial, eog and eog[e]) for e, trial in cleaned.items()}
    return cleaned, {**report, "artefacts": method, **method_report}


def chosen_method(eeg: Mapping[int, np.ndarray], referenced: bool, options: EEGOptions) -> str:
    """The method that removes eye artefacts: ``eeg.artefacts``, with ``auto`` resolved.

    ICA leaves least of a blink and most of alpha, but needs channels to tell sources apart and
    samples to learn from, at least 20 times the square of the channels (Onton & Makeig 2006).
    """
    if options.artefacts != "auto":
        return options.artefacts
    if referenced:
        return "none"
    channels = max((len(trial) for trial in eeg.values()), default=0)
    samples = sum(trial.shape[1] for trial in eeg.values())
    enough = channels >= FEWEST_AVERAGED and samples >= 20 * channels**2
    return "ica" if enough else "eog_regression"


def fitted_removal(
    eeg: Mapping[int, np.ndarray],
    eog: Mapping[int, np.ndarray] | None,
    channels: list[str],
    sfreq: float,
    referenced: bool,
    options: EEGOptions,
    bads: Mapping[int, Sequence[str]] | None = None,
    positions: Positions | None = None,
) -> tuple[Removal | None, dict[str, Any]]:
    """The removal of eye artefacts fitted on these parts of a recording, and its report.

    It is the one that :func:`clean` would fit, from the same arguments; None with the method none.
    """
    method = chosen_method(eeg, referenced, options)
    with threadpool_limits(1):
        repaired, _ = _repair(eeg, channels, referenced, options, bads, positions)
        removal, method_report = _fit(repaired, eog, channels, sfreq, method, options)
    return removal, {"artefacts": method, **method_report}


def _repair(
    eeg: Mapping[int, np.ndarray],
    channels: list[str],
    referenced: bool,
    options: EEGOptions,
    bads: Mapping[int, Sequence[str]] | None,
    positions: Positions | None,
) -> tuple[dict[int, np.ndarray], dict[str, Any]]:
    """Interpolate bad channels and take the reference; returns trials and a report."""
    bad = find_bad_channels(eeg, channels, bads if options.reject.marks else None)
    # Flat from beginning to end, in no known place: the electrode that the others were referred to.
    references = [
        {"channel": name, "why": "flat", "trials": [*map(int, eeg)], "done": "kept"}
        for name in sorted(without_position(channels, positions))
        if eeg and all(bad.get(e, {}).get(name) == "flat" for e in eeg)
    ]
    names = {row["channel"] for row in references}
    bad = {e: {n: why for n, why in bad[e].items() if n not in names} for e in bad}
    bad = {e: reasons for e, reasons in bad.items() if reasons}
    done: dict[int, str] = dict.fromkeys(bad, "kept")
    if options.bad_channels == "interpolate":
        most = options.reject.bad_channels * len(channels)
        done = {
            e: "interpolated"
            if len(bad[e]) <= most and can_interpolate(channels, bad[e], positions)
            else "rejected"
            for e in bad
        }
    repaired = {e: trial for e, trial in eeg.items() if done.get(e) != "rejected"}
    interpolated = [e for e, what in done.items() if what == "interpolated"]
    for e in interpolated:
        repaired[e] = interpolation(channels, tuple(bad[e]), positions) @ eeg[e]
    averaged_rows = _reference(channels, options)
    # What is preprocessed has its average; any other reference is taken from it all the same.
    by_name = options.reference not in ("average", "as_recorded")
    averaged = [e for e in repaired if by_name or not referenced or e in interpolated]
    averaged = averaged if averaged_rows is not None else []
    for e in averaged:
        repaired[e] = repaired[e] - repaired[e][averaged_rows].mean(axis=0)
    return repaired, {
        "bad_channels": _by_reason(bad, done) + references,
        "reference": "as_recorded" if averaged_rows is None else options.reference,
        "average_reference": [int(e) for e in averaged],
    }


def _reference(channels: list[str], options: EEGOptions) -> list[int] | slice | None:
    """Rows of the channels whose mean is the reference; None for that of the recording."""
    if options.reference == "as_recorded":
        return None
    if options.reference == "average":
        if len(channels) >= FEWEST_AVERAGED:
            return slice(None)
        _log.info(
            "%d channels keep the reference of the recording: an average needs %d",
            len(channels),
            FEWEST_AVERAGED,
        )
        return None
    if absent := [name for name in options.reference if name not in channels]:
        raise MilmerError(
            f"no channel {', '.join(absent)}",
            where="eeg.reference",
            remedy="name channels of the recording",
        )
    return [channels.index(name) for name in options.reference]


def _fit(
    eeg: Mapping[int, np.ndarray],
    eog: Mapping[int, np.ndarray] | None,
    channels: list[str],
    sfreq: float,
    method: str,
    options: EEGOptions,
) -> tuple[Removal | None, dict[str, Any]]:
    if not eeg:
        return None, {}
    if method == "ica":
        return ica(eeg, eog, channels, sfreq, options.eog_correlation)
    if method == "eog_regression":
        return eog_regression(eeg, eog, channels, sfreq)
    return None, {}


def _by_reason(
    bad: Mapping[int, Mapping[str, str]], done: Mapping[int, str]
) -> list[dict[str, Any]]:
    """One row per bad channel, reason and what was done, with the trials that it was done in."""
    trials: dict[tuple[str, str, str], list[int]] = {}
    for trial, reasons in bad.items():
        for name, reason in reasons.items():
            row = (name, reason, done[trial])
            trials.setdefault(row, []).append(int(trial))
    return [
        {"channel": name, "why": reason, "trials": numbers, "done": what}
        for (name, reason, what), numbers in trials.items()
    ]


def bad_in(report: Mapping[str, Any], trial: int) -> dict[str, str]:
    """The bad channels of a trial and why, from the report of :func:`clean`."""
    rows = report.get("bad_channels", ())
    return {row["channel"]: row["why"] for row in rows if trial in row["trials"]}
