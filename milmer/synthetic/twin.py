"""A synthetic twin of DEAP: files in its layout with known classes and leaks.

Anyone can try the pipeline with it without a licence for the dataset, and tests can compare results
with the truth written beside the data. Layout, orders, units and markers are those of the dataset's
documentation (Koelstra et al. 2012). A trial of the twin holds:

* **EEG** 1/f noise of 10 µV between 4 and 45 Hz. The class is one of four bands of 1 Hz
  (:data:`CLASS_BANDS`), raised with free phases on all channels, or on the occipital ones only.
  Free phases, so that a common average reference keeps the band. Narrow and strong, so that a
  branch that cannot see amplitude (LayerNorm over samples, Linear, ReLU) can learn it too.
  With ``eeg_class: place`` it is where alpha (:data:`ALPHA`) has four times the power: in the
  back eight channels, the next eight, … That branch cannot distinguish channels, so it cannot
  learn this.
* **Faces** the face of scikit-image's ``data.astronaut()`` on a plain ground, which sways and is
  lit differently in time. Some frames of each 3 s show the class as an expression (mouth and
  shade for valence, eyes and shade for arousal), the rest are neutral, and for short stretches
  there is no face.
* **Fingerprint** what identifies a trial but not its class: the shape of the spectrum of each
  channel, a waveform that repeats every 3 s after the baseline, and coloured patches of light
  on the face. All of it survives LayerNorm. Under a random split of segments a model can memorise
  it.

Random numbers depend on (seed, subject, trial, kind), so the same options give the same bytes, and
a subject stays the same when others are added.

Accuracy of a linear model, with 16 trials of 12 s a subject and the default strengths, split by
trial: 1.0 of the segments by log band power; 1.0 by the small branch mentioned above; 0.99 of the
informative frames and 0.46 of all frames by mean tokens of :func:`write_backbone`'s Swin (chance
0.25). With ``fingerprint=1`` and no class, a random split of segments gives 0.97 (band power),
1.0 (branch) and 0.9 (mean tokens of a bag), and a split by trial gives chance. OpenCV's Haar
cascade found the face in 99.8 to 100 % of the frames that hold one, and in none of the others.
With ``face_signal=2`` it misses a quarter of the informative ones, and YuNet none.
"""

import io
import json
import os
import pickle
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from milmer import folders, storage
from milmer.data.recording import BASELINE_SECONDS
from milmer.deap.layout import GENEVA, SFREQ, TWENTE
from milmer.errors import MilmerError
from milmer.synthetic.faces import film
from milmer.synthetic.options import (
    GAP,
    NOISES,
    PERIOD,
    PLAN,
    PRINT,
    TRAITS,
    TwinOptions,
    generator,
)

CLASSES = ("HAHV", "LAHV", "LALV", "HALV")
"""Quadrants of arousal and valence; the class of a trial is an index into them."""

CLASS_BANDS = ((9.5, 10.5), (5.5, 6.5), (19.5, 20.5), (37.5, 38.5))
"""The band in Hz that is raised for each class."""

ALPHA = (8.0, 12.0)
"""The band in Hz whose place is the class with ``eeg_class: place``."""

_BACK_TO_FRONT = (
    "Oz O1 O2 PO3 PO4 Pz P3 P4 P7 P8 CP1 CP2 CP5 CP6 Cz C3 C4 T7 T8 "
    "FC1 FC2 FC5 FC6 Fz F3 F4 F7 F8 AF3 AF4 Fp1 Fp2"
)
OCCIPITAL_FIRST = _BACK_TO_FRONT.split()
"""EEG channels from back to front: the order in which ``signal_channels`` takes them."""

_BDF_SFREQ = 512
_NOISE, _BAND, _WAVEFORM = 10.0, 10.0, 6.0  # µV rms
_PASS = (4.0, 45.0)  # Hz, of DEAP's preprocessing
_TAIL = 2.0  # seconds of recording after a trial
_EXTERNAL = [f"EXG{i}" for i in range(1, 9)]
_EXTERNAL += ["GSR1", "GSR2", "Erg1", "Erg2", "Resp", "Plet", "Temp"]
_RATED = ("Valence", "Arousal", "Dominance", "Liking")
_NO_FAMILIARITY = (2, 15, 23)


def synthesize(
    out: str | Path, options: TwinOptions, progress: Callable[[int, int], None] | None = None
) -> None:
    """Write a dataset in DEAP's layout to the new or empty folder ``out``.

    ``truth.json`` holds for each subject ``experiment_id`` (list: of trial 1, 2, …),
    ``class_by_experiment_id`` (list, indices into :data:`CLASSES`) and ``videos``: for each trial
    with a clip its number of ``frames`` and the runs ``[start, stop)`` of frames which are
    ``informative`` (show the class, however weakly) and ``faceless``; and the ``options``.
    ``progress(done, total)`` is called after each trial. The folder appears when it is complete.

    Raises :class:`MilmerError` where ``out`` is not empty.
    """
    out = Path(out).absolute()
    folders.require_apart(out, ())
    folders.require_place(out)
    if out.is_symlink() or (out.exists() and (not out.is_dir() or any(out.iterdir()))):
        raise MilmerError(
            "exists and is not empty", where=out, remedy="name a new folder for the dataset"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    hidden = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    draft = hidden / out.name
    try:
        rows, truth = [], {}
        total = options.subjects * options.trials
        for subject in range(1, options.subjects + 1):
            base = (subject - 1) * options.trials
            step = progress and (lambda done, base=base: progress(base + done, total))
            table, truth[f"s{subject:02d}"] = _write_subject(draft, options, subject, step)
            rows += table
        header = ["Participant_id", "Trial", "Experiment_id", "Start_time", *_RATED, "Familiarity"]
        lines = [",".join(row) + "\n" for row in [header, *rows]]
        _new(draft / "metadata_csv" / "participant_ratings.csv").write_text("".join(lines))
        about = {"classes": CLASSES, "class_bands": CLASS_BANDS, "subjects": truth}
        about["options"] = options.model_dump()
        (draft / "truth.json").write_text(json.dumps(about, indent=1) + "\n")
        os.replace(draft, out)
    except OSError as error:
        raise storage.writing_failed(out, error) from error
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def write_backbone(
    folder: str | Path, seed: int = 0, image_size: int = 224, hidden: int = 128
) -> None:
    """Write a small random Swin in Hugging Face format, for use without a download.

    The folder must be new, empty, or one that this function wrote.

    Three stages of one block with patches of 8 px: images of 224 px give 49 tokens of ``hidden``
    numbers (a multiple of 16). They say less than those of a trained Swin, but enough to tell the
    twin's expressions apart. The same arguments give the same weights.
    """
    import torch
    from transformers import SwinConfig, SwinModel, ViTImageProcessorPil

    config = SwinConfig(
        image_size=image_size,
        patch_size=8,
        embed_dim=hidden // 4,
        depths=[1, 1, 1],
        num_heads=[1, 2, 4],
        window_size=7,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SwinModel(config)
    processor = ViTImageProcessorPil(
        size={"height": image_size, "width": image_size},
        image_mean=[0.485, 0.456, 0.406],  # as the published Swin checkpoints have it
        image_std=[0.229, 0.224, 0.225],
    )
    with folders.replacing_folder(Path(folder), "synth") as new:
        model.save_pretrained(new)
        processor.save_pretrained(new)


# One subject ------------------------------------------------------------------------------------


def _write_subject(
    root: Path, options: TwinOptions, subject: int, step: Callable[[int], None] | None
) -> tuple[list[list[str]], dict]:
    """Write a subject's files; return its rows of the ratings file and its truth."""
    name, trials = f"s{subject:02d}", options.trials
    rng = generator(options, subject, 0, PLAN)
    classes = rng.permutation(np.arange(trials) % 4)  # by experiment_id - 1
    presented = rng.permutation(trials)  # experiment_id - 1 of each trial
    ratings = np.stack([_rate(rng, c) for c in classes])  # (experiment_id, 4)
    familiarity = rng.integers(1, 6, trials)

    data = np.zeros((trials, 40, _samples(BASELINE_SECONDS + options.seconds)))
    pieces, onsets, videos = [np.zeros((47, 10 * _BDF_SFREQ), np.float32)], [], {}
    at = 10 * _BDF_SFREQ
    for trial, e in enumerate(presented, start=1):
        lead = _samples(generator(options, subject, trial, GAP).uniform(2, 4))
        data[e], piece = _record(options, subject, e + 1, classes[e], lead)
        onsets.append(at + 4 * (lead + _samples(BASELINE_SECONDS)))
        at += piece.shape[1]
        if "bdf" in options.formats:
            pieces.append(piece)
        if subject not in options.no_video and f"{name}:{trial}" not in options.missing_clips:
            path = _new(root / "face_video" / name / f"{name}_trial{trial:02d}.avi")
            videos[str(trial)] = film(path, options, subject, e + 1, classes[e])
        if step:
            step(trial)

    content = {"data": data, "labels": ratings}
    if "dat" in options.formats:
        path = _new(root / "data_preprocessed_python" / f"{name}.dat")
        path.write_bytes(pickle.dumps(content, protocol=2))
    if "mat" in options.formats:
        _write_mat(_new(root / "data_preprocessed_matlab" / f"{name}.mat"), content)
    start = _BDF_SFREQ  # the experiment starts 1 s into the recording
    if "bdf" in options.formats:
        path = _new(root / "data_original" / f"{name}.bdf")
        _write_bdf(path, subject, pieces, start, onsets, _samples(options.seconds) * 4)
    rows = []
    for trial, (e, onset) in enumerate(zip(presented, onsets, strict=True), start=1):
        time = str(round(1e4 * (onset - start) / _BDF_SFREQ))
        row = [str(subject), str(trial), str(e + 1), time, *(f"{v:.2f}" for v in ratings[e])]
        rows.append([*row, "" if subject in _NO_FAMILIARITY else str(familiarity[e])])
    truth = {
        "experiment_id": [int(e) + 1 for e in presented],
        "class_by_experiment_id": classes.tolist(),
        "videos": videos,
    }
    return rows, truth


def _rate(rng: np.random.Generator, label: int) -> np.ndarray:
    """Valence, arousal, dominance, liking of a class: hundredths, the first two away from 5."""
    low, high = rng.integers(100, 451, 2), rng.integers(550, 901, 2)
    valence = (high if label in (0, 1) else low)[0]
    arousal = (high if label in (0, 3) else low)[1]
    return np.array([valence, arousal, *rng.integers(100, 901, 2)]) / 100


# EEG --------------------------------------------------------------------------------------------


def _record(
    options: TwinOptions, subject: int, experiment_id: int, label: int, lead: int
) -> tuple[np.ndarray, np.ndarray]:
    """A trial as its preprocessed file holds it, and as it was recorded.

    ``lead`` is the recording before the trial in samples of 128 Hz. Returns (40, samples) at
    128 Hz in Geneva order, and (47, samples) at 512 Hz with the lead and a tail. Both come from
    one spectrum, so that the first is the second resampled, filtered and re-referenced.
    """
    length = _samples(BASELINE_SECONDS + options.seconds)
    n = lead + length + _samples(_TAIL)
    n += n % 2
    f = np.fft.rfftfreq(4 * n, 1 / _BDF_SFREQ)
    passed = (f >= _PASS[0]) & (f <= _PASS[1])
    traits = generator(options, subject, 0, TRAITS)
    slope = traits.uniform(0.8, 1.2)
    rng = generator(options, subject, experiment_id, NOISES)
    mark = generator(options, subject, experiment_id, PRINT)

    # the shape of each channel's spectrum: random bumps of 2 Hz, the same power in all
    knots = mark.standard_normal((32, 30))
    bumps = np.stack([np.interp(f, np.arange(30) * 2.0, row) for row in knots])
    shape = np.where(f >= 0.5, np.maximum(f, 0.5) ** (-slope / 2), 0) * np.exp(
        0.5 * options.fingerprint * bumps
    )
    shape = np.where(f <= 100, shape, 0)  # (channel, bin)
    spectrum = _draw(rng, shape, passed, _NOISE, n)
    if options.eeg_class == "place":
        place = np.isin(GENEVA, OCCIPITAL_FIRST[8 * label : 8 * label + 8])
        alpha = (f >= ALPHA[0]) & (f <= ALPHA[1])
        spectrum[np.ix_(place, alpha)] *= 1 + options.eeg_signal
    else:
        band = (f >= CLASS_BANDS[label][0]) & (f <= CLASS_BANDS[label][1])
        chosen = np.isin(GENEVA, OCCIPITAL_FIRST[: options.signal_channels])
        raised = _draw(rng, np.broadcast_to(band, shape.shape), band, _BAND * options.eeg_signal, n)
        spectrum += raised * chosen[:, None]

    # the waveform, with signs that add up to nothing, so that re-referencing keeps it
    period = _samples(PERIOD)
    g = np.fft.rfftfreq(4 * period, 1 / _BDF_SFREQ)
    inside = (g >= _PASS[0]) & (g <= _PASS[1])
    wave = _draw(mark, inside[None] * 1.0, inside, _WAVEFORM * options.fingerprint, period)
    signs = mark.permutation(np.repeat([1.0, -1.0], 16))[:, None]
    since = np.arange(4 * n) - 4 * (lead + _samples(BASELINE_SECONDS))

    others, offset = _draw_external(rng, f, n)
    raw = np.concatenate([_back(spectrum, 4 * n), _back(others, 4 * n) + offset])  # (47, 4 n)
    raw[:32] += signs * _back(wave, 4 * period)[:, since % (4 * period)]
    shared = _draw(rng, shape[:1], passed, 5.0, n)  # common to all electrodes: their reference
    raw[:32] += _back(shared, 4 * n) + 2 * np.sin(2 * np.pi * 50 * np.arange(4 * n) / _BDF_SFREQ)

    eeg = _back(spectrum * passed, n) + signs * _back(wave, period)[:, since[::4] // 4 % period]
    eeg -= eeg.mean(0)
    rest = _back(others, n) + offset
    pairs = rest[0:8:2] - rest[1:8:2]  # hEOG, vEOG, zEMG, tEMG are bipolar
    data = np.concatenate([eeg, pairs, rest[[8, 12, 13, 14]]])
    return data[:, lead : lead + length], raw.astype(np.float32)


def _draw(
    rng: np.random.Generator, shape: np.ndarray, band: np.ndarray, rms: float, n: int
) -> np.ndarray:
    """Gaussian noise as its spectrum at 4 n samples, with ``rms`` expected within ``band``.

    ``shape`` (channel, bin) is the amplitude up to a factor, which is each channel's own.
    """
    noise = rng.standard_normal(shape.shape) + 1j * rng.standard_normal(shape.shape)
    power = 2 * (2 * shape[:, band] ** 2).sum(1, keepdims=True) / (4 * n) ** 2
    return noise * shape * (rms / np.sqrt(power))


def _draw_external(rng: np.random.Generator, f: np.ndarray, n: int) -> tuple:
    """Spectra (15, bin) and offsets (15, 1) of the channels beside the EEG, without a class."""
    slow = np.where((f >= 0.05) & (f <= 60), np.maximum(f, 0.05) ** -0.5, 0)
    slow = np.tile(slow, (15, 1))
    slow[8:] *= f < 2  # skin, breath and temperature are slow
    rms = np.array([20] * 8 + [500, 0, 0, 0, 300, 800, 2.0])
    offset = np.array([0] * 8 + [20000, 0, 0, 0, 0, 0, 3000.0])
    noise = _draw(rng, slow, f > 0, 1.0, n) * rms[:, None]
    return noise, offset[:, None]


def _back(spectrum: np.ndarray, n: int) -> np.ndarray:
    """The signal at n samples of a spectrum that belongs to some multiple of n samples."""
    kept = spectrum[:, : n // 2 + 1]
    full = 2 * (spectrum.shape[1] - 1)
    return np.fft.irfft(kept, n) * (n / full)


def _write_mat(path: Path, content: dict) -> None:
    """A MATLAB file without the time in its header, so that its bytes stay the same."""
    import scipy.io

    buffer = io.BytesIO()
    scipy.io.savemat(buffer, content, do_compression=True)
    text = b"MATLAB 5.0 MAT-file, synthetic twin of DEAP"
    path.write_bytes(text.ljust(116) + buffer.getvalue()[116:])


def _write_bdf(
    path: Path, subject: int, pieces: list[np.ndarray], start: int, onsets: list[int], length: int
) -> None:
    """A continuous recording in presentation order, channels in the laboratory's order."""
    import edfio

    total = sum(piece.shape[1] for piece in pieces)
    full = -(-total // _BDF_SFREQ) * _BDF_SFREQ  # whole seconds
    pieces = [*pieces, np.zeros((47, full - total), np.float32)]
    upper = 0x19FF00 if subject >= 24 else 0
    status = np.full(full, upper)
    second = _BDF_SFREQ
    events = [(start, 1), (start + second, 1), (start + 3 * second, 2), (total - 64, 7)]
    for onset in onsets:
        fixation = onset - int(BASELINE_SECONDS * second)
        events += [(fixation, 3), (onset, 4), (onset + length, 5), (onset + length + second, 1)]
    for sample, code in events:
        status[sample : sample + 8] = upper | code

    order = TWENTE if subject <= 22 else GENEVA
    signals = []
    for label in [*order, *_EXTERNAL]:
        row = (GENEVA + _EXTERNAL).index(label)
        values = np.concatenate([piece[row] for piece in pieces]).astype(float)
        if label == "GSR1" and subject > 22:
            values = 1e9 / np.maximum(values, 5000)  # Geneva's unit
        values = np.clip(values, -262144, 262143)
        signals.append(_bdf_signal(values, label, "uV", 262144))
    named = "" if subject >= 24 else "Status"
    signals.append(_bdf_signal(status.astype(float), named, "Boolean", 2**23))
    if subject >= 29:  # a 49th channel without a name, which carries no codes
        signals.append(_bdf_signal(np.full(full, float(upper)), "", "Boolean", 2**23))
    edfio.Bdf(signals).write(path)


def _bdf_signal(values: np.ndarray, label: str, unit: str, limit: int):
    from edfio import BdfSignal

    span = (-limit, limit - 1)
    return BdfSignal(values, _BDF_SFREQ, label=label, physical_dimension=unit, physical_range=span)


# Small things -----------------------------------------------------------------------------------


def _samples(seconds: float) -> int:
    return round(seconds * SFREQ)


def _new(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
