"""Log band power and logistic regression, the classic baseline of EEG emotion recognition.

The features are those of Koelstra et al. (2012); the classifier has nothing to tune.
"""

from collections.abc import Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from milmer.errors import MilmerError

_AT_ONCE = 512  # segments whose spectra are in memory at a time
_FLOOR = 1e-12  # added to each power, so that a flat channel has a logarithm


def log_band_power(
    eeg: np.ndarray, sfreq: float, bands: Sequence[tuple[float, float]]
) -> np.ndarray:
    """Features (segment, channel * band) of ``eeg`` (segment, channel, sample) in µV.

    The log of the mean power over the frequencies ``[low, high)`` of each band in Hz. The units are
    the same for all segments of the same length. A band in which the spectrum of a segment has no
    frequency is left out.
    """
    frequency = np.fft.rfftfreq(eeg.shape[-1], 1 / sfreq)  # (bin,)
    within = [(frequency >= low) & (frequency < high) for low, high in bands]
    within = [bins for bins in within if bins.any()]
    if not within:
        raise MilmerError(
            f"segments of {eeg.shape[-1] / sfreq:g} s at {sfreq:g} Hz have no frequency in any "
            "band of the baseline",
            where="segmentation.seconds",
            remedy="make segments longer",
        )
    blocks = [eeg[first : first + _AT_ONCE] for first in range(0, len(eeg), _AT_ONCE)]
    return np.concatenate([_features(block, within) for block in blocks])


def _features(eeg: np.ndarray, within: Sequence[np.ndarray]) -> np.ndarray:
    power = np.abs(np.fft.rfft(eeg.astype(np.float64))) ** 2  # (segment, channel, bin)
    bands = np.stack([power[..., bins].mean(-1) for bins in within], -1)
    return np.log(bands + _FLOOR).reshape(len(eeg), -1)


def class_probabilities(
    features: np.ndarray, label: np.ndarray, new: np.ndarray, classes: int, c: float
) -> np.ndarray:
    """Probabilities (row, class) of ``new`` (row, feature), by a model fitted to ``features``.

    Features are standardised by the mean and deviation of ``features`` (row, feature). A class that
    does not occur in ``label`` (row,) has probability 0.
    """
    probability = np.zeros((len(new), classes))
    present = np.unique(label)
    if len(present) == 1:
        probability[:, present] = 1.0
        return probability
    model = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=5000))
    probability[:, present] = model.fit(features, label).predict_proba(new)
    return probability
