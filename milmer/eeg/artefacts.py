"""Removes blinks and eye movements from the EEG, guided by hEOG and vEOG.

Both methods are fitted once per subject, on samples of all trials high-passed at 1 Hz, and then
applied to the unfiltered trials; so they commute with any filter along time.

* ``eog_regression`` subtracts from each channel its least-squares share of hEOG and vEOG below 5 Hz
  (Gratton et al. 1983; Croft & Barry 2000): electrodes at the eyes pick up alpha too, and eyes move
  slowly.
* ``ica`` decomposes the EEG into independent components (FastICA, Hyvärinen & Oja 2000), removes
  those that hEOG and vEOG together explain below 10 Hz (Jung et al. 2000), and then what regression
  finds of the eyes in the others.
"""

import logging
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from milmer.eeg.filtering import band_pass, high_pass, low_pass
from milmer.errors import MilmerError

EOG_CHANNELS = ("hEOG", "vEOG")
"""The rows of the EOG, both bipolar."""

EYE_REACH = 0.83
"""Seconds before and after a sample that the removals look at: half of a filter."""

_DRIFT = 1.0  # Hz; without a high-pass, drift would dominate the fit
_SLOW = 5.0  # Hz; above it EOG is brain and muscle more than eye
_EYES = 10.0  # Hz; below it components are compared with the EOG
_NEGLIGIBLE = 1e-9  # a dimension with less than this share of the largest variance is rounding
_SAMPLES = 32_000  # that a fit looks at: 30 times the square of 32 channels
_EVERY = 4  # neighbours are alike: so few of a trial's samples say as much as all
_ITERATIONS = 200  # eye components converge early; further iterations do not change them

_log = logging.getLogger(__name__)

Removal = Callable[[np.ndarray, np.ndarray | None], np.ndarray]
"""Removes eye artefacts from a trial (channel, sample), given its EOG (2, sample)."""


def eog_regression(
    eeg: Mapping[int, np.ndarray],
    eog: Mapping[int, np.ndarray] | None,
    channels: list[str],
    sfreq: float,
) -> tuple[Removal, dict[str, Any]]:
    """Fit the regression of each channel on hEOG and vEOG.

    ``eeg`` maps a trial to (channel, sample) and ``eog`` to (2, sample), both in µV at
    ``sfreq`` Hz. Returns the removal and a report of plain JSON values: the ``coefficients`` by EOG
    channel and channel, and ``removed_variance``, the share of each channel's variance that is
    removed. Raises :class:`MilmerError` if the EOG is missing, flat or not finite.
    """
    eog = _usable_eog(eeg, eog, "eog_regression")
    fitted, slow = (_sampled(eeg, sfreq, high) for high in (None, _SLOW))  # (channel, time)
    eyes = _sampled(eog, sfreq, _SLOW)  # (2, time)
    weights = np.linalg.lstsq(eyes.T, slow.T)[0].T  # (channel, 2)

    def remove(trial: np.ndarray, eyes: np.ndarray | None) -> np.ndarray:
        return trial - weights @ low_pass(eyes, sfreq, _SLOW)

    return remove, {
        "coefficients": _coefficients(channels, weights),
        "removed_variance": _by_channel(channels, _variance_share(weights @ eyes, fitted)),
    }


def ica(
    eeg: Mapping[int, np.ndarray],
    eog: Mapping[int, np.ndarray] | None,
    channels: list[str],
    sfreq: float,
    eog_correlation: float,
) -> tuple[Removal, dict[str, Any]]:
    """Fit an ICA whose components are removed where hEOG and vEOG explain them.

    ``eeg`` maps a trial to (channel, sample) and ``eog`` to (2, sample), both in µV at
    ``sfreq`` Hz. A component is removed if its multiple correlation with both below 10 Hz exceeds
    ``eog_correlation``: whether EOG is bipolar or not, the same comes out. As many components are
    fitted as the data has dimensions, which are fewer than its channels after an average reference
    or an interpolation. What is left of the eyes goes by regression.

    Returns the removal and a report of plain JSON values: the number of ``components``, whether
    FastICA ``converged``, the components ``removed`` (index by falling variance, |r| with hEOG and
    vEOG and with both, share of the total variance, map in µV by channel at one standard
    deviation), the ``coefficients`` of the regression, and ``removed_variance``, the share of each
    channel's variance that is removed. Raises :class:`MilmerError` if the EOG is missing, flat or
    not finite.
    """
    eog = _usable_eog(eeg, eog, "ica")
    fitted = _sampled(eeg, sfreq, None)  # (channel, time)
    unmixing, mixing, converged = _components(fitted)
    below, eyes = (_sampled(x, sfreq, _EYES) for x in (eeg, eog))  # (channel, time), (2, time)
    single = _correlation(unmixing @ below, eyes)  # (component, 2)
    both = _multiple_correlation(unmixing @ below, eyes)  # (component,)
    variance = (mixing**2).sum(axis=0) * (unmixing @ fitted).var(axis=1)
    removed = np.flatnonzero(both > eog_correlation)
    projection = mixing[:, removed] @ unmixing[removed]  # (channel, channel)
    slow, slow_eyes = (_sampled(x, sfreq, _SLOW) for x in (eeg, eog))
    weights = np.linalg.lstsq(slow_eyes.T, (slow - projection @ slow).T)[0].T  # (channel, 2)

    def remove(trial: np.ndarray, eyes: np.ndarray | None) -> np.ndarray:
        return trial - projection @ trial - weights @ low_pass(eyes, sfreq, _SLOW)

    share = _variance_share(projection @ fitted + weights @ slow_eyes, fitted)
    return remove, {
        "components": len(unmixing),
        "converged": converged,
        "removed": [
            {
                "index": int(i),
                "r": {
                    name: _plain(r)
                    for name, r in zip((*EOG_CHANNELS, "both"), (*single[i], both[i]), strict=True)
                },
                "variance": _plain(variance[i] / variance.sum()),
                "map": _by_channel(channels, mixing[:, i]),
            }
            for i in removed
        ],
        "coefficients": _coefficients(channels, weights),
        "removed_variance": _by_channel(channels, share),
    }


def _usable_eog(
    eeg: Mapping[int, np.ndarray], eog: Mapping[int, np.ndarray] | None, method: str
) -> dict[int, np.ndarray]:
    """The EOG of the trials of ``eeg``, in their order; refused if it measured nothing."""
    ordered = {e: eog[e] for e in eeg} if eog is not None else {}
    if eog is None:
        problem = "which the recording does not have"
    elif not all(np.isfinite(trial).all() for trial in ordered.values()):
        problem = "which hold values that are not finite"
    elif not any(np.ptp(trial, axis=1).any() for trial in ordered.values()):
        problem = "which are flat"
    else:
        return ordered
    raise MilmerError(
        f"{method} needs hEOG and vEOG, {problem}", where="eeg.artefacts", remedy="set it to none"
    )


def _sampled(trials: Mapping[int, np.ndarray], sfreq: float, high: float | None) -> np.ndarray:
    """Some samples (row, time) of ``trials``, high-passed, and low-passed at ``high`` Hz.

    They are of all trials, or of some spread over them if these have enough.
    """
    total = sum(trial.shape[1] for trial in trials.values())
    count = math.ceil(len(trials) * min(1.0, _EVERY * _SAMPLES / total))
    keys = list(trials)
    some = [trials[keys[i]] for i in np.linspace(0, len(keys) - 1, count).round().astype(int)]
    every = max(1, sum(trial.shape[1] for trial in some) // _SAMPLES)
    if high is None:
        parts = [high_pass(trial, sfreq, _DRIFT)[:, ::every] for trial in some]
    else:
        parts = [band_pass(trial, sfreq, (_DRIFT, high))[:, ::every] for trial in some]
    return np.concatenate(parts, axis=1)


def _components(fitted: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
    """Unmixing (component, channel), mixing (channel, component), and whether FastICA converged.

    Components have unit variance, are ordered by the variance that they explain, and are positive
    where their map is largest.
    """
    from sklearn.decomposition import FastICA
    from sklearn.exceptions import ConvergenceWarning

    variances = np.linalg.eigvalsh(np.cov(fitted))
    rank = int((variances > _NEGLIGIBLE * variances.max()).sum())
    model = FastICA(rank, whiten="unit-variance", max_iter=_ITERATIONS, random_state=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(fitted.T.astype(np.float32))  # in half the time, to the same components
    converged = not any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
    if not converged:
        _log.warning(
            "ICA did not converge in %d iterations; the last components are used", _ITERATIONS
        )
    mixing, unmixing = model.mixing_.astype(np.float64), model.components_.astype(np.float64)
    order = np.argsort(-(mixing**2).sum(axis=0), kind="stable")
    peak = np.abs(mixing).argmax(axis=0)
    sign = np.sign(mixing[peak, np.arange(rank)])
    return (unmixing * sign[:, None])[order], (mixing * sign)[:, order], converged


def _correlation(sources: np.ndarray, eyes: np.ndarray) -> np.ndarray:
    """|r| (component, 2) of each component with each EOG channel; 0 if that channel is flat."""
    centred = [x - x.mean(axis=1, keepdims=True) for x in (sources, eyes)]
    norms = [np.linalg.norm(x, axis=1) for x in centred]
    scale = np.outer(*norms)
    products = np.abs(centred[0] @ centred[1].T)
    return np.divide(products, scale, out=np.zeros_like(scale), where=scale > 0)


def _multiple_correlation(sources: np.ndarray, eyes: np.ndarray) -> np.ndarray:
    """R (component,) of each component with both EOG channels together."""
    sources, eyes = (x - x.mean(axis=1, keepdims=True) for x in (sources, eyes))
    explained = np.linalg.lstsq(eyes.T, sources.T)[0].T @ eyes
    return np.sqrt((explained**2).sum(axis=1) / (sources**2).sum(axis=1))


def _coefficients(channels: list[str], weights: np.ndarray) -> dict[str, dict[str, float]]:
    return {name: _by_channel(channels, weights[:, i]) for i, name in enumerate(EOG_CHANNELS)}


def _variance_share(removed: np.ndarray, fitted: np.ndarray) -> np.ndarray:
    """Variance of ``removed`` as a share of that of ``fitted``, by channel; 0 if that has none."""
    total = fitted.var(axis=1)
    return np.divide(removed.var(axis=1), total, out=np.zeros_like(total), where=total > 0)


def _by_channel(channels: list[str], values: np.ndarray) -> dict[str, float]:
    return {name: _plain(value) for name, value in zip(channels, values, strict=True)}


def _plain(value: float) -> float:
    return round(float(value), 6)
