"""Stage ``baseline``: log band power and logistic regression, on the folds of the experiments.

The features are those that emotion recognition from EEG began with (Koelstra et al. 2012), the
classifier has nothing to tune: what a model is worth is what it adds to this. It learns from the
training part alone, also where an experiment learns from the validation part too.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from milmer import storage
from milmer.errors import MilmerError
from milmer.evaluation.band_power_options import BandPowerOptions
from milmer.metrics.scores import class_shares
from milmer.splits.rows import joined, read_split, require_fit, sampling_rate

_AT_ONCE = 512  # segments whose spectra are in memory
_FLOOR = 1e-12  # µV², the power of a channel that is flat


def make_baseline(
    split: Path, segments: Sequence[Path], options: BandPowerOptions, out: Path
) -> None:
    """Write the baseline's predictions of a split's test part.

    ``segments`` are the files of its subjects. Columns ``subject, experiment_id, position, label``
    and a probability ``p_<class>`` for each class; the provenance's facts hold the ``shares`` of
    the classes in the training part. Raises :class:`MilmerError` where the files do not fit
    together, or the split leaks.
    """
    table, made = read_split(split)
    for path in segments:
        require_fit(split, made, path, storage.read_provenance(path))
    eeg, row, _ = joined(table, segments, "segments", "eeg", split)
    if (row < 0).any():
        raise MilmerError(
            f"{split}: names {table['subject'][row < 0].iloc[0]}, whose segments were not given"
        )
    train, test = ((table["part"] == part).to_numpy() for part in ("train", "test"))
    with threadpool_limits(1):
        sfreq = sampling_rate(segments)
        parts = [log_band_power(array, sfreq, options.bands) for array in eeg]
        features = np.concatenate(parts)[row]  # (row, feature)
        label, facts = table["label"].to_numpy(), made["facts"]
        probability = class_probabilities(
            features[train], label[train], features[test], len(facts["labels"]), options.c
        )
    predictions = table[test].drop(columns="part").reset_index(drop=True)
    for i, name in enumerate(facts["labels"]):
        predictions[f"p_{name}"] = probability[:, i]
    known = {name: facts[name] for name in ("protocol", "fold", "leaky", "labels")}
    known["permuted"] = facts.get("permuted", False)  # a split of before there was a control
    known["shares"] = class_shares(label[train], len(facts["labels"])).tolist()
    inputs = {"split": split} | {f"segments_{path.stem}": path for path in segments}
    provenance = storage.provenance("baseline", __name__, options.result(), inputs)
    storage.write_table(out, predictions, provenance | {"facts": known})


def log_band_power(
    eeg: np.ndarray, sfreq: float, bands: Sequence[tuple[float, float]]
) -> np.ndarray:
    """Features (segment, channel * band) of ``eeg`` (segment, channel, sample) in µV.

    The log of the mean power of the frequencies in ``[low, high)`` of each band in Hz, in units
    that are the same for all segments of a length. A band in which a segment has no frequency is
    left out.
    """
    frequency = np.fft.rfftfreq(eeg.shape[-1], 1 / sfreq)  # (bin,)
    within = [(frequency >= low) & (frequency < high) for low, high in bands]
    within = [bins for bins in within if bins.any()]
    if not within:
        raise MilmerError(
            f"segments of {eeg.shape[-1] / sfreq:g} s at {sfreq:g} Hz have no frequency in any "
            "band of the baseline; set segmentation.seconds to more"
        )
    blocks = [eeg[first : first + _AT_ONCE] for first in range(0, len(eeg), _AT_ONCE)]
    return np.concatenate([_features(block, within) for block in blocks])


def _features(eeg: np.ndarray, within: Sequence[np.ndarray]) -> np.ndarray:
    power = np.abs(np.fft.rfft(eeg.astype(np.float64))) ** 2  # (segment, channel, bin)
    bands = np.stack([power[..., bins].mean(-1) for bins in within], -1)
    return np.log(bands + _FLOOR).reshape(len(eeg), -1)


def class_probabilities(
    known: np.ndarray, label: np.ndarray, new: np.ndarray, classes: int, c: float
) -> np.ndarray:
    """Probabilities (row, class) of ``new`` (row, feature) from ``known`` and its ``label``.

    Features are standardised by the mean and deviation of ``known``. A class that ``label`` (row,)
    lacks has probability 0.
    """
    probability = np.zeros((len(new), classes))
    present = np.unique(label)
    if len(present) == 1:
        probability[:, present] = 1.0
        return probability
    model = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=5000))
    probability[:, present] = model.fit(known, label).predict_proba(new)
    return probability
