"""Features of segments that simple methods learn from.

Of the EEG the log power in bands (Koelstra et al. 2012), and the tangent space of the covariances
in the same bands (Barachant et al. 2013), by the log-Euclidean metric (Arsigny et al. 2006), in
which it needs no reference that would have to be learned; of faces the mean token.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from milmer.contracts.segments import SEGMENTS
from milmer.contracts.tokens import TOKENS
from milmer.errors import MilmerError
from milmer.splits.rows import joined, read_split, require_fit, sampling_rate

BANDS = ((4, 8), (8, 13), (13, 30), (30, 45))
"""Theta, alpha, beta and gamma in Hz; DEAP's preprocessing keeps no others."""

_AT_ONCE = 512  # segments whose spectra are in memory at a time
_FRAMES_AT_ONCE = 4096  # frames whose tokens are in memory at a time
_FLOOR = 1e-12  # added to each power, so that a flat channel has a logarithm


# ---------------------------------------------------------------------- reading


@dataclass(frozen=True)
class Features:
    """``values`` (segment, ...) of segments, and which is that of each row of splits.

    ``row`` (row,) is −1 where a row has none: its EEG was rejected, or no face is valid.
    """

    values: np.ndarray
    row: np.ndarray


def read_splits(
    splits: Path, folds: Sequence[str], segments: Sequence[Path], tokens: Sequence[Path]
) -> tuple[pd.DataFrame, dict[str, Any], dict[str, Path]]:
    """The rows of all ``folds`` with the number of their ``fold``, facts, and files by fold.

    Raises :class:`MilmerError` if a split leaks, or a subject's file does not fit to it.
    """
    paths = {fold: splits / f"{fold}.parquet" for fold in folds}
    tables, facts = [], {}
    for i, path in enumerate(paths.values()):
        table, provenance = read_split(path)
        subjects, facts = set(table["subject"]), provenance["facts"]
        for contract, files in ((SEGMENTS, segments), (TOKENS, tokens)):
            for file in files:
                if file.stem in subjects:
                    require_fit(path, provenance, file, contract)
        tables.append(table.assign(fold=i))
    return pd.concat(tables, ignore_index=True), facts, paths


def variants(paths: Sequence[Path], depth: int) -> dict[str, list[Path]]:
    """Files by their variant, which the names of the ``depth`` folders above them say."""
    by_name: dict[str, list[Path]] = {}
    for path in paths:
        by_name.setdefault("/".join(path.parts[-1 - depth : -1]), []).append(path)
    return by_name


def eeg_features(
    rows: pd.DataFrame, segments: Sequence[Path], splits: Path, names: Sequence[str]
) -> dict[str, Features]:
    """The features ``names`` of the EEG in ``segments``, all of one variant."""
    eeg, row, files = joined(rows, segments, SEGMENTS, "eeg", splits)
    if (row < 0).any():
        raise MilmerError(
            f"names {rows['subject'][row < 0].iloc[0]}, whose segments were not given",
            where=splits,
            remedy="give the segments of all its subjects",
        )
    sfreq = sampling_rate(segments)
    usable = np.concatenate([file["rejected"] == b"" for file in files])
    row = np.where(usable[row], row, -1)
    of_bands = {"band_power": log_band_power, "tangent_space": tangent_vectors}
    return {
        name: Features(np.concatenate([of_bands[name](array, sfreq) for array in eeg]), row)
        for name in names
    }


def face_features(rows: pd.DataFrame, tokens: Sequence[Path], splits: Path) -> dict[str, Features]:
    """The mean tokens in ``tokens``, all of one variant."""
    arrays, row, files = joined(rows, tokens, TOKENS, "tokens", splits)
    means = [mean_tokens(x, f["bag"], f["valid"]) for x, f in zip(arrays, files, strict=True)]
    usable = np.concatenate([file["valid"].any(axis=1) for file in files])
    row = np.where((row >= 0) & usable[row], row, -1)
    return {"mean_token": Features(np.concatenate(means), row)}


# --------------------------------------------------------------------- features


def log_band_power(
    eeg: np.ndarray, sfreq: float, bands: Sequence[tuple[float, float]] = BANDS
) -> np.ndarray:
    """Features (segment, channel * band) of ``eeg`` (segment, channel, sample) in µV.

    The log of the mean power over the frequencies ``[low, high)`` of each band in Hz. The units are
    the same for all segments of the same length. A band in which the spectrum of a segment has no
    frequency is left out.
    """
    within = _bins(eeg, sfreq, bands)

    def powers(spectrum: np.ndarray) -> np.ndarray:
        power = np.abs(spectrum) ** 2  # (segment, channel, bin)
        by_band = np.stack([power[..., bins].mean(-1) for bins in within], -1)
        return np.log(by_band + _FLOOR).reshape(len(spectrum), -1)

    return np.concatenate([powers(spectrum) for spectrum in _spectra(eeg)])


def tangent_vectors(
    eeg: np.ndarray, sfreq: float, bands: Sequence[tuple[float, float]] = BANDS
) -> np.ndarray:
    """Logarithms (segment, band * channel * (channel + 1) / 2) of the covariances in each band.

    Of ``eeg`` (segment, channel, sample). They are shrunk as Chen et al. (2010) estimate (OAS):
    after an average reference they are singular, and have no logarithm. That of a segment without
    any signal is zero.
    """
    from pyriemann.estimation import Covariances
    from pyriemann.tangentspace import TangentSpace

    within, (channels, samples) = _bins(eeg, sfreq, bands), eeg.shape[1:]
    space = TangentSpace("logeuclid").fit(np.eye(channels)[None])

    def logarithms(spectrum: np.ndarray) -> np.ndarray:
        live = np.abs(spectrum).any(axis=(1, 2))
        vectors = np.zeros((len(spectrum), len(within), channels * (channels + 1) // 2))
        for i, bins in enumerate(within if live.any() else ()):
            filtered = np.fft.irfft(spectrum[live] * bins, samples)
            vectors[live, i] = space.transform(Covariances("oas").fit_transform(filtered))
        return vectors.reshape(len(spectrum), -1)

    return np.concatenate([logarithms(spectrum) for spectrum in _spectra(eeg)])


def _bins(eeg: np.ndarray, sfreq: float, bands: Sequence[tuple[float, float]]) -> list[np.ndarray]:
    """Which bins (bin,) of the spectrum each band has, without bands that have none."""
    frequency = np.fft.rfftfreq(eeg.shape[-1], 1 / sfreq)
    within = [(frequency >= low) & (frequency < high) for low, high in bands]
    within = [bins for bins in within if bins.any()]
    if not within:
        raise MilmerError(
            f"segments of {eeg.shape[-1] / sfreq:g} s at {sfreq:g} Hz have no frequency in any "
            "band of the baseline",
            where="segmentation.seconds",
            remedy="make segments longer",
        )
    return within


def _spectra(eeg: np.ndarray) -> Iterator[np.ndarray]:
    """Spectra (segment, channel, bin), some segments at a time."""
    for first in range(0, max(len(eeg), 1), _AT_ONCE):
        yield np.fft.rfft(eeg[first : first + _AT_ONCE].astype(np.float64))


def mean_tokens(tokens: np.ndarray, bag: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """The mean token (segment, dim) of the valid instances of each segment; zeros without one.

    ``tokens`` (frame, token, dim), ``bag`` and ``valid`` (segment, instance).
    """
    blocks = range(0, len(tokens), _FRAMES_AT_ONCE)
    parts = [tokens[i : i + _FRAMES_AT_ONCE].astype(np.float32).mean(axis=1) for i in blocks]
    frames = np.concatenate(parts) if parts else np.zeros((1, tokens.shape[-1]), np.float32)
    summed = np.where(valid[..., None], frames[np.where(valid, bag, 0)], 0).sum(axis=1)
    return summed / np.maximum(valid.sum(axis=1), 1)[:, None]
