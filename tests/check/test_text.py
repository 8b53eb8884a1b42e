"""The screen: it fits, and says what a researcher asks first."""

from pathlib import Path

import pytest

from milmer.check.deap_findings import copy_findings
from milmer.check.findings import Finding
from milmer.check.needs import needs
from milmer.check.report import Report
from milmer.check.text import WIDTH
from milmer.config import Config


@pytest.fixture
def shown(deap):
    """The screen's lines."""

    def show(more=(), width=WIDTH):
        findings = [*more, *copy_findings(deap)]
        report = Report(deap, findings, needs(deap, Config()), Path("/work"), 66 * 10**9)
        lines = report.screen().splitlines()
        assert max(map(len, lines)) <= width
        assert all(line == line.rstrip() for line in lines)
        return lines

    return show


def row(lines, beginning):
    return next(line.split() for line in lines if line.startswith(beginning))


def test_a_whole_copy_fits_on_a_screen(shown):
    lines = shown()
    assert len(lines) <= 40
    assert "s01–s32 (32); .dat is read (auto)" in lines[1]
    assert "1,280 trials of s01–s32 (32)" in lines[2]
    assert "874 clips of s01–s22 (22); DEAP has 874 of these trials" in lines[3]
    assert "720 x 576, 50 fps, 59.0 s" in " ".join(lines[3:5])
    assert row(lines, "s11 ")[1:] == ["40", "40", "60", "agree", "37", "37"]
    assert row(lines, "s23–s32 (10)")[2:] == ["40", "40", "60", "agree", "–", "–"]
    assert lines[-1] == "Usable: no error, 4 notes."


def test_a_copy_that_is_uneven_in_every_way_fits_too(deap, shown):
    deap.source = deap.wanted = "bdf"
    for number, (name, subject) in enumerate(deap.subjects.items()):
        subject.eeg = {"bdf": deap.place / "elsewhere" / f"{name}.bdf"}
        subject.clips.pop(number % 5 + 1, None)
        subject.trials[0].quadrant = "HALV"
        for trial in subject.trials[1:]:
            trial.quadrant = ("LAHV", "HAHV")[trial.trial % 2]
    assert len(shown()) <= 50


def test_without_ratings_clips_are_compared_with_all_that_deap_has(deap, shown):
    for subject in deap.subjects.values():
        subject.trials = []
    lines = shown()
    assert "DEAP has 874 of these trials" in lines[3]
    assert row(lines, "s11 ")[1:] == ["–", "0", "–", "agree", "37", "37"]


def test_equal_subjects_share_a_row_and_long_lists_are_wrapped(deap, shown):
    for name in list(deap.subjects)[::2]:
        deap.subjects[name].labels_agree = False
    lines = shown()
    rows = [line for line in lines if line.startswith("s") and "DIFFER" in line]
    assert len(rows) == 4  # s01 …; s03, s05; s11; s23 …
    assert "s21 (8)" in "".join(lines)


def test_many_errors_are_cut_short_and_counted(shown):
    errors = [Finding("eeg", f"deap/s{i:02d}.dat: damaged", (f"s{i:02d}",), True)
              for i in range(1, 33)]  # fmt: skip
    lines = shown(errors)
    assert sum(line.startswith("ERROR") for line in lines) == 9
    assert "ERROR … and 24 more, of s09–s32 (24); --json lists them all" in lines
    assert lines[-1] == "32 errors to fix before the first run, 4 notes."


def test_a_long_path_is_not_broken(shown):
    path = "/" + "/".join(["a-long-folder"] * 9) + "/s01.dat"
    error = Finding("eeg", f"{path}: cannot be read, damaged; copy it again", (), True)
    lines = shown([error], width=150)
    assert any(path in line for line in lines)


def test_the_estimate_says_what_it_is_for_and_what_is_free(deap, shown):
    lines = shown()
    at = next(i for i, line in enumerate(lines) if "estimated for a 2-core CPU" in line)
    assert lines[at + 1] == "66.0 GB free in /work:"
    assert row(lines, "  tokens") == ["tokens", "174,800", "crops", "13.2", "GB", "2", "h"]
    assert row(lines, "  all")[3:] == ["23.4", "GB", "21", "days"]
    deap.quick = True
    assert "trials as long as DEAP's" in "".join(shown())
    assert "EEG and videos were not read" in shown()[0]


def test_of_an_unreadable_copy_the_error_alone_is_shown(deap, shown):
    deap.subjects.clear()
    lines = shown([Finding("dataset", "dataset.root: no such folder: deap", (), True)])
    assert lines == [
        "deap",
        "",
        "ERROR dataset.root: no such folder: deap",
        "",
        "1 error to fix before the first run, 0 notes.",
    ]
