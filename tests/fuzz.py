"""Damaged files, one after the other, through the stages that read them.

Run in a process of its own: a library that does not survive a file takes only that process along,
and the last line tells which file it was.
"""

import json
import random
import resource
import shutil
import sys
from pathlib import Path

from milmer import storage
from milmer.deap.recordings import read_recording
from milmer.deap.trials import TrialsOptions, make_trials
from milmer.eeg.options import SegmentsOptions
from milmer.eeg.segments import make_segments
from milmer.errors import MilmerError
from milmer.faces.crops import make_faces
from milmer.faces.options import FaceStageOptions
from milmer.manifest import recordings as own
from milmer.manifest.table import read_manifest
from milmer.manifest.trials import ManifestTrialsOptions, make_manifest_trials

FILES = {
    "dat": "data_preprocessed_python/s01.dat",
    "mat": "data_preprocessed_matlab/s01.mat",
    "plain_mat": "data_preprocessed_matlab/s01.mat",
    "bdf": "data_original/s01.bdf",
    "avi": "face_video/s01/s01_trial01.avi",
    "csv": "metadata_csv/participant_ratings.csv",
}
OWN = {"xdf": "a.xdf", "vhdr": "a.vhdr", "set": "a.set", "fif": "a_raw.fif", "npy": "a.npy"}
"""Recordings of a lab, described by `manifest.csv` beside them."""

_HEADER = {"dat": 300, "mat": 300, "plain_mat": 400, "bdf": 256 * 49, "avi": 6000, "csv": 300}
_HEADER |= {"xdf": 1500, "vhdr": 600, "set": 3000, "fif": 3000, "npy": 128}
_MEMORY = 12 << 30  # what a header's nonsense may ask for before it fails


def main(kind: str, root: str, first: str, last: str) -> None:
    """Report a JSON line before and after each damaged file of a kind."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    root = Path(root)
    path = root / (FILES | OWN)[kind]
    whole = path.read_bytes()
    for seed in range(int(first), int(last)):
        path.write_bytes(damaged(whole, kind, random.Random(f"{kind} {seed}")))
        _say({"seed": seed})
        out = root.parent / "out"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        said = _said_of_own(root, out) if kind in OWN else _said(kind, root, out)
        _say({"seed": seed, "said": said, "left": _left(out)})
    path.write_bytes(whole)


def damaged(whole: bytes, kind: str, r: random.Random) -> bytes:
    """``whole`` with a few bytes changed, a part missing, doubled or zeroed, or cut off."""
    content = bytearray(whole)
    for _ in range(r.randint(1, 3)):
        size = len(content)
        at = r.randrange(min(_HEADER[kind], size) if r.random() < 0.7 else size) if size else 0
        length = r.choice([1, 1, 1, 2, 4, 8, 64, 1000])
        match r.choice(["change", "change", "change", "remove", "double", "zero", "cut", "swap"]):
            case "change":
                content[at : at + 1] = bytes([r.randrange(256)])
            case "remove":
                del content[at : at + length]
            case "double":
                content[at:at] = content[at : at + length]
            case "zero":
                content[at : at + length] = bytes(len(content[at : at + length]))
            case "cut":
                del content[r.choice([at, size - length]) :]
            case "swap":
                content[at : at + length] = content[at : at + length][::-1]
    return bytes(content)


def _said(kind: str, root: Path, out: Path) -> str | None:
    """The error for people, or null where all stages made a valid file."""
    source = kind if kind in ("dat", "mat", "bdf") else {"plain_mat": "mat"}.get(kind, "dat")
    trials = out / "trials" / "s01.parquet"
    try:
        make_trials(root, "s01", TrialsOptions(source=source), trials)
        storage.read_table(trials, "trials")
        if kind == "avi":
            options = FaceStageOptions(faces={"detector": "haar", "instances": 3, "threads": 1})
            make_faces(trials, root, options, out / "faces" / "s01.h5")
            with storage.open_h5(out / "faces" / "s01.h5", "faces") as file:
                assert len(file["bag"])
        elif kind != "csv":
            make_segments(
                trials, root, SegmentsOptions(), out / "segments" / "s01.h5", read_recording
            )
            with storage.open_h5(out / "segments" / "s01.h5", "segments") as file:
                assert len(file["eeg"])
    except MilmerError as error:
        return str(error)
    return None


def _said_of_own(root: Path, out: Path) -> str | None:
    """The same of a lab's recording."""
    trials, segments = out / "trials" / "s01.parquet", out / "segments" / "s01.h5"
    try:
        manifest = read_manifest(root / "manifest.csv")
        rows = ManifestTrialsOptions(rows=manifest.digest("s01"))
        make_manifest_trials(manifest.path, "s01", rows, trials)
        options = SegmentsOptions(recording={})
        make_segments(trials, root, options, segments, own.read_recording)
        with storage.open_h5(segments, "segments") as file:
            assert len(file["eeg"])
    except MilmerError as error:
        return str(error)
    return None


def _left(out: Path) -> list[str]:
    return sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file())


def _say(what: dict) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
