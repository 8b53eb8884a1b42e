"""The stage ``segments`` beside MNE: its filter alone, and its filter with an ICA.

The published notebook filters each trial and then fits an ICA from which no component is excluded,
so that its output is its input. Both are timed on the array that our stage reads from a ``.dat``
file: one subject of DEAP's size, 40 trials x 40 channels x 8064 samples of float64. Our stage reads
the file, checks and digests it, filters, cuts, writes and validates; MNE only computes.
"""

import pickle
import struct
import tempfile
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
from timing import arguments, interleaved, machine, once, ratio, table

from milmer import storage
from milmer.deap.layout import GENEVA, SFREQ
from milmer.deap.preprocessed import read_preprocessed
from milmer.deap.recordings import read_recording
from milmer.deap.trials import TrialsOptions, make_trials
from milmer.eeg.options import SegmentsOptions
from milmer.eeg.segments import make_segments

BASELINE = 384  # samples


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--no-ica", action="store_true", help="leave the ICA out")
    parser.add_argument(
        "--eeg",
        type=Path,
        help="a .dat file whose EEG is repeated to DEAP's size: how soon the ICA converges depends "
        "on the data, and the mixed noise that is used otherwise is the easiest case",
    )
    args = parser.parse_args()
    trials = 4 if args.quick else 40
    with tempfile.TemporaryDirectory() as folder:
        print(_compare(Path(folder), trials, args.rounds, args.eeg, not args.no_ica))
    print()
    print(machine(args.threads, ["numpy", "scipy", "mne", "h5py"]))


def _compare(root: Path, trials: int, rounds: int, real: Path | None, ica: bool) -> str:
    import mne

    data = _write_subject(root, _noise(trials) if real is None else _repeated(real, trials))
    make_trials(root, "s01", TrialsOptions(), root / "s01.parquet")
    eeg = data[:, : len(GENEVA)]  # (trial, channel, sample) in µV

    def ours() -> None:
        make_segments(
            root / "s01.parquet", root, SegmentsOptions(), root / "s01.h5", read_recording
        )

    def mne_filter() -> np.ndarray:
        return mne.filter.filter_data(eeg, SFREQ, 1, 50, verbose="error")

    def mne_filter_and_ica() -> None:
        info = mne.create_info(list(GENEVA), SFREQ, "eeg")
        for trial in eeg[..., BASELINE:]:  # as published: each trial without its baseline
            raw = mne.io.RawArray(trial * 1e-6, info, verbose="error")
            raw.filter(1, 50, verbose="error")
            fitted = mne.preprocessing.ICA(random_state=0, verbose="error").fit(
                raw, verbose="error"
            )
            fitted.apply(raw, verbose="error")

    timed = interleaved({"ours": ours, "filter": mne_filter}, rounds)
    with storage.open_h5(root / "s01.h5") as file:
        print(f"{trials} trials, {file['eeg'].shape[0]} segments")
    rows = [
        ["our stage, file to file", timed["ours"].median, 1.0],
        [
            "MNE's filter alone, in memory",
            timed["filter"].median,
            ratio(timed["ours"], timed["filter"]),
        ],
    ]
    if ica:
        with_ica = once(mne_filter_and_ica)  # too long to be repeated
        rows.append(
            [
                "MNE's filter and an ICA a trial (fastica), in memory, one run",
                with_ica.median,
                timed["ours"].median / with_ica.median,
            ]
        )
    return table(["contestant", "s", "ours takes x times as long"], rows)


class _Python2Pickler(pickle._Pickler):
    """Writes bytes and text as Python 2 did for DEAP's files, which load 4 times faster."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def _save_bytes(self, content: bytes) -> None:
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)
        self.memoize(content)

    def _save_text(self, content: str) -> None:
        self._save_bytes(content.encode("latin1"))

    dispatch[bytes], dispatch[str] = _save_bytes, _save_text


def _noise(trials: int) -> np.ndarray:
    """Mixed sources, for the ICA to separate: (trial, 40, sample) in µV."""
    rng = np.random.default_rng(0)
    data = rng.laplace(size=(trials, 40, 8064))
    data[:, :32] = np.einsum("cs,tsn->tcn", rng.standard_normal((32, 32)), data[:, :32]) * 3
    return data


def _repeated(path: Path, trials: int) -> np.ndarray:
    """The EEG of a real recording, repeated to (trial, 40, sample) in µV."""
    eeg = np.concatenate(list(read_preprocessed(path).eeg), axis=1)  # (channel, sample)
    samples = trials * 8064
    eeg = np.tile(eeg, -(-samples // eeg.shape[1]))[:, :samples]
    data = np.zeros((trials, 40, 8064))
    data[:, :32] = eeg.reshape(32, trials, 8064).transpose(1, 0, 2)
    return data


def _write_subject(root: Path, data: np.ndarray) -> np.ndarray:
    """A subject's ``.dat`` of ``data`` (trial, 40, sample) and its ratings; returns the data."""
    rng, trials = np.random.default_rng(0), len(data)
    ratings = rng.integers(100, 901, (trials, 4)) / 100
    for folder in ("data_preprocessed_python", "metadata_csv"):
        (root / folder).mkdir()
    with open(root / "data_preprocessed_python" / "s01.dat", "wb") as file:
        _Python2Pickler(file, protocol=2).dump({"data": data, "labels": ratings})
    number = np.arange(1, trials + 1)
    columns = {"Participant_id": 1, "Trial": number, "Experiment_id": number, "Start_time": 0}
    names = ("Valence", "Arousal", "Dominance", "Liking")
    columns |= dict(zip(names, ratings.T, strict=True)) | {"Familiarity": 3}
    pd.DataFrame(columns).to_csv(root / "metadata_csv" / "participant_ratings.csv", index=False)
    return data


if __name__ == "__main__":
    main()
