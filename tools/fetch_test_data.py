#!/usr/bin/env python3
"""Download the recordings that some tests read.

    python tools/fetch_test_data.py

They belong to others and are not part of the repository: 8 runs of PhysioNet's EEG Motor
Movement/Imagery Database (Open Data Commons Attribution License 1.0), EEGLAB's tutorial data
(distributed with EEGLAB, BSD 2-clause), and the "foreman" sequence as conformance stream BA1_FT_C
(distributed with openh264, BSD 2-clause); 26 MB in all. Each file is checked by its SHA-256 before
it gets its name; a file that is there already is kept. Beside them go the tests that transformers
runs on each of its models (Apache License 2.0), from the source distribution of the version that is
installed, which pip checks by the digests in requirements.lock.

Tests look for these files in tests/data/recordings, in the folder that the environment variable
MILMER_TEST_DATA names, and in ../shared/data beside the repository, in that order.

The digests are those of the files that the tests were written with. The addresses could not be
tried on the machine where this was written, which has no network.
"""

import argparse
import hashlib
import importlib.metadata
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parent.parent
FOLDER = REPOSITORY / "tests" / "data" / "recordings"
COMMAND = "python tools/fetch_test_data.py"


class Source(NamedTuple):
    """Where a file is published, and the SHA-256 of its content."""

    url: str
    sha256: str


_EEGMMIDB = "https://physionet.org/files/eegmmidb/1.0.0/S001"
_EEGLAB = (
    "https://raw.githubusercontent.com/sccn/eeglab"
    "/420769355b4e754628edfb43da2eb02c72fb8333/sample_data"
)
_OPENH264 = "https://raw.githubusercontent.com/cisco/openh264/v2.6.0/res"

FILES = {
    "eegmmidb/S001R03.edf": Source(
        f"{_EEGMMIDB}/S001R03.edf",
        "3427c8d01bff1380bc9ab9f27a35ece2af5dfadf3e291bbc05eb66e4dadbfe2e",
    ),
    "eegmmidb/S001R04.edf": Source(
        f"{_EEGMMIDB}/S001R04.edf",
        "3d161f88e1c00632585287d2ce584c2bc0f08862438eb255ea8723e00fac693d",
    ),
    "eegmmidb/S001R05.edf": Source(
        f"{_EEGMMIDB}/S001R05.edf",
        "8828f4b97931100af136cebf27838248b82f69cf359f7e6c3146a1970a8fb8d9",
    ),
    "eegmmidb/S001R06.edf": Source(
        f"{_EEGMMIDB}/S001R06.edf",
        "5369364f2c4e81ca141679d6dd2ba6ece61c7eb53d7fae31241b308876e1b6b3",
    ),
    "eegmmidb/S001R07.edf": Source(
        f"{_EEGMMIDB}/S001R07.edf",
        "6320a941815eb7a0bc632e32c07c88b6e2281a0e2f177e8f49e2d0a16231145c",
    ),
    "eegmmidb/S001R08.edf": Source(
        f"{_EEGMMIDB}/S001R08.edf",
        "358fb5189220725141968ae285fbe9e3f36210b834ffba71d940af308e3aca68",
    ),
    "eegmmidb/S001R09.edf": Source(
        f"{_EEGMMIDB}/S001R09.edf",
        "1b642457807be572c31e8bb56a936cbdb554507d66e25e242c9bd1b0c557c53c",
    ),
    "eegmmidb/S001R10.edf": Source(
        f"{_EEGMMIDB}/S001R10.edf",
        "20de1c7746c2349d16bda5e9f1b0ac7b7ad1581102a2e30dd2ac422696f62fb1",
    ),
    "eeglab/eeglab_data.set": Source(
        f"{_EEGLAB}/eeglab_data.set",
        "27594dc378685d25d5f5f762f4f8332e7a3d988b6d5d41832bb2252d93988718",
    ),
    "eeglab/eeglab_data.fdt": Source(
        f"{_EEGLAB}/eeglab_data.fdt",
        "3ec388b9a080c723c00cd380403d64cc754929d828375bbd53bd83b468136759",
    ),
    "video/foreman_cif.264": Source(
        f"{_OPENH264}/BA1_FT_C.264",
        "1bd3abeea6a5612602556a455cd2c59f235cba23e09a1a5556641296324c0bb7",
    ),
}


TRANSFORMERS_TESTS = ("test_modeling_common.py", "test_configuration_common.py")


class FetchError(Exception):
    """A file cannot be had; the text says which and why in one line."""


def find_recordings() -> Path | None:
    """The first folder that holds all files, or None."""
    return _first_with(FILES)


def find_transformers_tests() -> Path | None:
    """The folder with the common model tests of the installed transformers, or None."""
    version = importlib.metadata.version("transformers")
    names = [f"transformers-{version}/{name}" for name in TRANSFORMERS_TESTS]
    place = _first_with(names)
    return place and place / f"transformers-{version}"


def _first_with(names: Iterable[str]) -> Path | None:
    places = [FOLDER, REPOSITORY.parent / "shared" / "data"]
    if folder := os.environ.get("MILMER_TEST_DATA"):
        places.insert(1, Path(folder))
    names = list(names)
    complete = (place for place in places if all((place / name).is_file() for name in names))
    return next(complete, None)


def fetch(folder: Path, files: Mapping[str, Source]) -> None:
    """Download into ``folder`` those of ``files`` that are not there; raise FetchError."""
    for name, source in files.items():
        path = folder / name
        if path.is_file() and _sha256(path) == source.sha256:
            print(f"{path}: is there")
            continue
        partial = path.with_name(f".{path.name}.partial")
        try:
            partial.parent.mkdir(parents=True, exist_ok=True)
            urllib.request.urlretrieve(source.url, partial)
            digest = _sha256(partial)
            if digest != source.sha256:
                raise FetchError(f"{source.url}: SHA-256 is {digest}, expected {source.sha256}")
            partial.replace(path)
        except OSError as error:
            raise FetchError(f"{source.url}: cannot be downloaded ({error})") from error
        finally:
            partial.unlink(missing_ok=True)
        print(f"{path}: downloaded")


def fetch_transformers_tests(folder: Path) -> None:
    """Download the common model tests of the installed transformers; raise FetchError."""
    name = f"transformers-{importlib.metadata.version('transformers')}"
    if all((folder / name / test).is_file() for test in TRANSFORMERS_TESTS):
        print(f"{folder / name}: is there")
        return
    lock = (REPOSITORY / "requirements.lock").read_text(encoding="utf-8")
    pinned = re.search(
        rf"^{re.escape(name.replace('-', '==', 1))} .*(\n    .*)*", lock, re.MULTILINE
    )
    if pinned is None:
        raise FetchError(f"{name}: not the version in requirements.lock")
    with tempfile.TemporaryDirectory() as work:
        requirement = Path(work, "requirement.txt")
        requirement.write_text(pinned[0], encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--no-binary", "transformers", "--require-hashes", "--dest", work]
        done = subprocess.run(
            [*command, "--requirement", str(requirement)], capture_output=True, text=True
        )
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise FetchError(f"{name}: cannot be downloaded ({reason})")
        with tarfile.open(Path(work, f"{name}.tar.gz")) as archive:
            for test in TRANSFORMERS_TESTS:
                content = archive.extractfile(f"{name}/tests/{test}").read()
                (folder / name).mkdir(parents=True, exist_ok=True)
                (folder / name / test).write_bytes(content)
    print(f"{folder / name}: downloaded")


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> None:
    """Download all files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER, help="where files go")
    folder = parser.parse_args().folder
    try:
        fetch(folder, FILES)
        fetch_transformers_tests(folder)
    except FetchError as error:
        sys.exit(f"error: {error}; nothing of it was kept")


if __name__ == "__main__":
    main()
