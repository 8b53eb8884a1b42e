"""Damaged files end in one line for people or in a valid result, and leave nothing half-written."""

import json
import shutil
import subprocess
import sys

import pytest
import scipy.io

from milmer.deap.preprocessed import NAMES
from milmer.readers.matlab import read_arrays
from tests.conftest import REPOSITORY
from tests.fuzz import FILES, OWN
from tests.limited import require_bounded
from tests.manifest import recordings
from tests.manifest.described import write_manifest

COUNT = {"dat": 100, "mat": 100, "plain_mat": 100, "bdf": 100, "avi": 100, "csv": 100}
COUNT |= dict.fromkeys(OWN, 60)
WRITERS = {
    "xdf": recordings.xdf,
    "vhdr": recordings.brainvision,
    "set": recordings.eeglab,
    "fif": recordings.fif,
    "npy": recordings.array,
}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """One subject of four trials that are just long enough for a segment."""
    from milmer.synthetic.twin import TwinOptions, synthesize

    path = tmp_path_factory.mktemp("small") / "deap"
    size = {"subjects": 1, "trials": 4, "seconds": 3, "video_missing": 0.5}
    picture = {"width": 128, "height": 96, "fps": 10}
    synthesize(path, TwinOptions(formats=["dat", "mat", "bdf"], **size, **picture))
    return path


@pytest.mark.parametrize("kind", FILES)
def test_a_damaged_file_is_one_line_or_a_valid_result(small, kind, tmp_path):
    root = shutil.copytree(small, tmp_path / "deap")
    if kind == "plain_mat":
        path = root / FILES[kind]
        content = read_arrays(path, NAMES)
        scipy.io.savemat(path, {name: content[name] for name in NAMES}, do_compression=False)
    require_lines_or_results(root, kind)


@pytest.mark.parametrize("kind", OWN)
def test_a_damaged_recording_of_a_lab_is_one_line_or_a_valid_result(kind, tmp_path):
    root = tmp_path / "lab"
    root.mkdir()
    WRITERS[kind](root / OWN[kind], recordings.waves())
    row = {"subject": "s01", "eeg_file": OWN[kind]}
    rows = [
        row | {"trial": i, "stimulus": i, "eeg_start": 4 * i, "eeg_stop": 4 * i + 3.5}
        for i in range(2)
    ]
    write_manifest(root / "manifest.csv", rows)
    require_lines_or_results(root, kind)


def require_lines_or_results(root, kind):
    command = [sys.executable, "-m", "tests.fuzz", kind, root, "0", str(COUNT[kind])]
    done = subprocess.run(
        list(map(str, command)), cwd=REPOSITORY, capture_output=True, text=True, timeout=900
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"{kind}: {lines[-1:]} {done.stderr[-3000:]}"
    results = [line for line in lines if "said" in line]
    assert len(results) == COUNT[kind]
    for result in results:
        if result["said"] is None:
            continue
        assert "\n" not in result["said"]
        assert result["said"].startswith(str(root)) or "s01" in result["said"], result
        # The stages before may be done, the one that failed leaves nothing.
        assert result["left"] in ([], ["trials/s01.parquet"]), result
    refused = sum(result["said"] is not None for result in results)
    assert refused >= COUNT[kind] // 10  # else the damage is none
    assert refused < COUNT[kind]  # and else nothing got through


def test_there_are_at_least_500_damaged_files():
    assert sum(COUNT.values()) >= 500


def errors_of_mutants(folder, first, last):
    """The error for people about each mutant, or None; a mutant that ends the process fails."""
    command = [sys.executable, "-m", "tests.fuzz_pickles", str(folder), str(first), str(last)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=1800)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"{lines[-1:]} {done.stderr[-3000:]}"
    return [line["error"] for line in lines if "error" in line]


@pytest.mark.parametrize(
    ("first", "last"), [(0, 500), pytest.param(500, 20_000, marks=pytest.mark.long)]
)
def test_a_pickle_with_opcodes_changed_is_one_line_or_a_valid_result(tmp_path, first, last):
    errors = errors_of_mutants(tmp_path, first, last)
    assert len(errors) == last - first
    for error in errors:
        require_bounded(error)
        assert error is None or "s01.dat: " in error
    refused = sum(error is not None for error in errors)
    assert len(errors) // 3 < refused < len(errors)  # neither harmless nor all refused at once
