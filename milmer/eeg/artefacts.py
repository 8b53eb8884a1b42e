"""Blinks and eye movements taken out of the EEG by what hEOG and vEOG measured of them.

Both methods are fitted once a subject, on all trials without what is slower than 1 Hz, and then
act on any trial as it is, sample by sample; so they commute with any filter along time.

* ``eog_regression`` takes from each channel its least-squares share of hEOG and vEOG (Gratton et
  al. 1983; Croft & Barry 2000). What the EOG electrodes picked up of the brain goes with it.
* ``ica`` splits the EEG into independent components (FastICA, Hyvärinen & Oja 2000) and takes out
  those that follow hEOG or vEOG (Jung et al. 2000).
"""

import logging
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from milmer.eeg.filtering import high_pass
from milmer.errors import MilmerError

EOG = ("hEOG", "vEOG")
"""The rows of the EOG, both bipolar."""

_DRIFT = 1.0  # Hz, below which drift would decide the fit
_NEGLIGIBLE = 1e-9  # share of the greatest variance below which a dimension is rounding
_SAMPLES = 150_000  # as many are enough for FastICA: 150 times the square of 32 channels
_ITERATIONS = 200  # more change nothing of what follows the eyes; that is found early

_log = logging.getLogger(__name__)

Removal = Callable[[np.ndarray, np.ndarray | None], np.ndarray]
"""Takes eye artefacts out of a trial (channel, sample), given its EOG (2, sample)."""


def eog_regression(
    eeg: Mapping[int, np.ndarray],
    eog: Mapping[int, np.ndarray] | None,
    channels: list[str],
    sfreq: float,
) -> tuple[Removal, dict[str, Any]]:
    """Fit what takes the least-squares share of hEOG and vEOG from each channel.

    ``eeg`` maps experiment_id to (channel, sample) and ``eog`` to (2, sample), both in µV at
    ``sfreq`` Hz. Returns it and, as plain JSON values, the ``coefficients`` by EOG channel
    and channel and the share of each channel's variance that is ``removed_variance``. Raises
    :class:`MilmerError` where the EOG is missing or silent.
    """
    eog = _usable(eeg, eog, "eog_regression")
    fitted, eyes = _joined(eeg, sfreq), _joined(eog, sfreq)  # (channel, time), (2, time)
    weights = np.linalg.lstsq(eyes.T, fitted.T)[0].T  # (channel, 2)

    def remove(trial: np.ndarray, eyes: np.ndarray | None) -> np.ndarray:
        return trial - weights @ eyes

    return remove, {
        "coefficients": {name: _by_channel(channels, weights[:, i]) for i, name in enumerate(EOG)},
        "removed_variance": _by_channel(channels, _share(weights @ eyes, fitted)),
    }


def ica(
    eeg: Mapping[int, np.ndarray],
    eog: Mapping[int, np.ndarray] | None,
    channels: list[str],
    sfreq: float,
    eog_correlation: float,
) -> tuple[Removal, dict[str, Any]]:
    """Fit what takes out the independent components that correlate with hEOG or vEOG.

    ``eeg`` maps experiment_id to (channel, sample) and ``eog`` to (2, sample), both in µV at
    ``sfreq`` Hz. As many ``components`` are fitted as the data has dimensions: an average
    reference and interpolated channels leave fewer than there are channels. Returns it
    and, as plain JSON values, how many components there are, whether FastICA ``converged``, what
    was ``removed`` (index in the order of variance, |r| with hEOG and vEOG, share of the whole
    variance, µV by channel at one standard deviation) and the share of each channel's variance
    that was ``removed_variance``. Raises :class:`MilmerError` where the EOG is missing or silent.
    """
    eog = _usable(eeg, eog, "ica")
    fitted, eyes = _joined(eeg, sfreq), _joined(eog, sfreq)  # (channel, time), (2, time)
    unmixing, mixing, converged = _components(fitted)
    sources = unmixing @ fitted  # (component, time)
    correlation = _correlation(sources, eyes)  # (component, 2)
    variance = (mixing**2).sum(axis=0) * sources.var(axis=1)
    out = np.flatnonzero(correlation.max(axis=1) > eog_correlation)
    removal = mixing[:, out] @ unmixing[out]  # (channel, channel)

    def remove(trial: np.ndarray, _: np.ndarray | None) -> np.ndarray:
        return trial - removal @ trial

    return remove, {
        "components": len(unmixing),
        "converged": converged,
        "removed": [
            {
                "index": int(i),
                "r": {name: _plain(r) for name, r in zip(EOG, correlation[i], strict=True)},
                "variance": _plain(variance[i] / variance.sum()),
                "map": _by_channel(channels, mixing[:, i]),
            }
            for i in out
        ],
        "removed_variance": _by_channel(channels, _share(removal @ fitted, fitted)),
    }


def _usable(
    eeg: Mapping[int, np.ndarray], eog: Mapping[int, np.ndarray] | None, method: str
) -> dict[int, np.ndarray]:
    """The EOG of the trials of ``eeg`` in their order, if something was measured there."""
    ordered = {e: eog[e] for e in eeg} if eog is not None else {}
    if eog is None:
        problem = "which the recording does not have"
    elif not all(np.isfinite(trial).all() for trial in ordered.values()):
        problem = "which hold values that are not finite"
    elif not any(np.ptp(trial, axis=1).any() for trial in ordered.values()):
        problem = "which are flat"
    else:
        return ordered
    raise MilmerError(f"eeg.artefacts: {method} needs hEOG and vEOG, {problem}; set it to none")


def _joined(trials: Mapping[int, np.ndarray], sfreq: float) -> np.ndarray:
    return np.concatenate([high_pass(t, sfreq, _DRIFT) for t in trials.values()], axis=1)


def _components(fitted: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
    """Unmixing (component, channel), mixing (channel, component), and whether it converged.

    Components have unit variance, stand in the order of the variance that they explain, and are
    positive where their map is greatest.
    """
    from sklearn.decomposition import FastICA
    from sklearn.exceptions import ConvergenceWarning

    spread = np.linalg.eigvalsh(np.cov(fitted))
    rank = int((spread > _NEGLIGIBLE * spread.max()).sum())
    model = FastICA(rank, whiten="unit-variance", max_iter=_ITERATIONS, random_state=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(fitted[:, :: max(1, fitted.shape[1] // _SAMPLES)].T)
    converged = not any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
    if not converged:
        _log.warning(
            "ICA did not converge in %d iterations; the last components are used", _ITERATIONS
        )
    mixing, unmixing = model.mixing_, model.components_
    order = np.argsort(-(mixing**2).sum(axis=0), kind="stable")
    greatest = np.abs(mixing).argmax(axis=0)
    sign = np.sign(mixing[greatest, np.arange(rank)])
    return (unmixing * sign[:, None])[order], (mixing * sign)[:, order], converged


def _correlation(sources: np.ndarray, eyes: np.ndarray) -> np.ndarray:
    """|r| (component, 2) of each component with each EOG channel, 0 where that one is flat."""
    centred = [x - x.mean(axis=1, keepdims=True) for x in (sources, eyes)]
    norms = [np.linalg.norm(x, axis=1) for x in centred]
    scale = np.outer(*norms)
    together = np.abs(centred[0] @ centred[1].T)
    return np.divide(together, scale, out=np.zeros_like(scale), where=scale > 0)


def _share(removed: np.ndarray, fitted: np.ndarray) -> np.ndarray:
    """Variance of ``removed`` over that of ``fitted`` by channel, 0 where there is none."""
    whole = fitted.var(axis=1)
    return np.divide(removed.var(axis=1), whole, out=np.zeros_like(whole), where=whole > 0)


def _by_channel(channels: list[str], values: np.ndarray) -> dict[str, float]:
    return {name: _plain(value) for name, value in zip(channels, values, strict=True)}


def _plain(value: float) -> float:
    return round(float(value), 6)
