"""Euclidean alignment: what a montage and a head do to all of a person's EEG is taken back.

He and Wu (2020): each person's EEG is multiplied by R^(-1/2), R being the mean covariance of the
channels. Afterwards the mean covariance of everyone is the unit matrix, so that what is learnt from
some people fits others better. No label is looked at.
"""

from collections.abc import Iterable

import numpy as np

_LEAST = 1e-4  # of the mean eigenvalue: the average reference leaves one direction empty


def aligning_matrix(segments: Iterable[np.ndarray]) -> np.ndarray:
    """R^(-1/2) (channel, channel) of segments (…, channel, sample), float32.

    R is the mean of their second moments over time. Directions with next to no variance are not
    blown up. Empty if there is no segment.
    """
    total, count = np.zeros(()), 0
    for part in segments:
        x = part.reshape(-1, *part.shape[-2:]).astype(np.float64)
        total = total + np.einsum("scn,sdn->cd", x, x) / x.shape[-1]
        count += len(x)
    if not count:
        return np.zeros((0, 0), np.float32)
    variance, vectors = np.linalg.eigh(total / count)
    variance = np.maximum(variance, max(_LEAST * variance.mean(), np.finfo(np.float64).tiny))
    return ((vectors / np.sqrt(variance)) @ vectors.T).astype(np.float32)
