"""Sidecars of EEG-BIDS say of a recording's channels what its own file cannot."""

import json

import numpy as np
import pytest

from milmer.readers.digests import eeg_digests
from milmer.readers.eeg import EEGFile
from milmer.readers.sidecars import companions
from tests.manifest.recordings import NAMES, array, edf, waves

STEM = "sub-01_ses-2_task-film_run-1"


@pytest.fixture
def eeg(tmp_path):
    return edf(tmp_path / f"{STEM}_eeg.edf", waves())


def sidecar(eeg, rows, name=f"{STEM}_channels.tsv"):
    path = eeg.with_name(name)
    path.write_text("\n".join("\t".join(map(str, row)) for row in rows) + "\n")
    return path


def test_types_and_status_of_channels_count(eeg):
    """Of one channel it is eye movement, one is bad, one is not mentioned."""
    sidecar(eeg, [("name", "type", "units", "status"), (NAMES[1], "VEOG", "uV", "good"),
                  (NAMES[2], "EEG", "uV", "bad"), (NAMES[3], "n/a", "n/a", "n/a")])  # fmt: skip
    file = EEGFile(eeg)
    assert file.channels == tuple(name for name in NAMES if name != NAMES[1])
    assert file.dropped[NAMES[1]] == "the file says that it is eog"
    assert file.bads == (NAMES[2],)
    assert file.eog_candidates == [NAMES[1]]


def test_a_unit_counts_where_the_file_has_none(tmp_path):
    """Numbers of an array in mV whose own description says something that is no unit."""
    path = array(tmp_path / "sub-01_task-film_eeg.npy", waves() / 1000)
    description = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps(description | {"unit": "a.u."}))
    rows = [("name", "units"), *((name, "mV") for name in NAMES)]
    sidecar(path, rows, "sub-01_task-film_channels.tsv")
    file = EEGFile(path)
    x = waves()[:, :200]
    assert file.unclear == ()
    np.testing.assert_allclose(
        file.trial(0, 1, file.sfreq), x - x.mean(axis=1, keepdims=True), atol=0.05
    )


def test_a_unit_that_the_file_itself_has_stands(eeg):
    before = EEGFile(eeg).trial(0, 1, 200.0)
    sidecar(eeg, [("name", "units"), *((name, "V") for name in NAMES)])
    np.testing.assert_array_equal(EEGFile(eeg).trial(0, 1, 200.0), before)


@pytest.mark.parametrize(
    ("system", "unit", "place"),
    [("CapTrak", "mm", (0.01, 0.02, 0.03)), ("CTF", "cm", (-0.2, 0.1, 0.3))],
)
def test_positions_are_in_m_and_in_the_frame_of_the_head(eeg, system, unit, place):
    sidecar(eeg, [("name", "x", "y", "z"), *((name, 10, 20, 30) for name in NAMES)],
            "sub-01_ses-2_space-x_electrodes.tsv")  # fmt: skip
    described = {"EEGCoordinateSystem": system, "EEGCoordinateUnits": unit}
    eeg.with_name("sub-01_ses-2_space-x_coordsystem.json").write_text(json.dumps(described))
    positions = EEGFile(eeg).positions
    assert set(positions) == set(NAMES)
    assert all(positions[name] == pytest.approx(place) for name in NAMES)


def test_positions_in_a_system_that_is_not_known_are_told_and_not_read(eeg, caplog):
    sidecar(eeg, [("name", "x", "y", "z"), *((name, 1, 2, 3) for name in NAMES)],
            "sub-01_ses-2_electrodes.tsv")  # fmt: skip
    assert EEGFile(eeg).positions is None
    assert "positions are not read; coordsystem.json says no system in no unit" in caplog.text


def test_a_sidecar_of_other_channels_is_refused(eeg, refused):
    path = sidecar(eeg, [("name", "type"), ("E1", "EEG")])
    with refused(f"{path}: names no channel of its recording, which has {NAMES[0]}"):
        EEGFile(eeg)


def test_sidecars_are_parts_of_the_recording(eeg):
    assert companions(eeg) == []
    before = eeg_digests(eeg.parent, [eeg.name])
    path = sidecar(eeg, [("name", "status"), (NAMES[0], "bad")])
    assert companions(eeg) == [path]
    assert eeg_digests(eeg.parent, [eeg.name]) != before


def test_a_sidecar_that_links_elsewhere_is_refused(eeg, tmp_path_factory, refused):
    other = tmp_path_factory.mktemp("other") / "secret.tsv"
    other.write_text(f"name\tstatus\n{NAMES[0]}\tbad\n")
    eeg.with_name(f"{STEM}_channels.tsv").symlink_to(other)
    with refused("names ", "as a part of it, which is not beside it"):
        EEGFile(eeg)
