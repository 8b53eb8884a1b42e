import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milmer.manifest.table import read_manifest
from tests.manifest.described import write_manifest

ROW = {"subject": "p1", "trial": 1, "stimulus": "a", "eeg_file": "a.edf"}


def rows(*changes):
    return [ROW | {"trial": i, "stimulus": f"s{i}"} | change for i, change in enumerate(changes, 1)]


@pytest.fixture
def read(tmp_path):
    def make(*changes, name="m.csv", delimiter=","):
        made = rows(*changes)
        return read_manifest(write_manifest(tmp_path / name, made, delimiter))

    return make


def numbers(manifest, subject="p1"):
    return {row.stimulus: row.experiment_id for row in manifest.trials[subject]}


def test_an_empty_cell_is_nothing_and_files_are_beside_the_manifest(read, tmp_path):
    more = {"eeg_start": "", "eeg_stop": "n/a", "video_file": " ", "valence": "", "label": "n/a"}
    row = read(more).trials["p1"][0]
    assert (row.eeg_start, row.eeg_stop, row.video_file, row.label) == (None,) * 4
    assert row.ratings == {}
    assert read(more).at(row.eeg_file) == tmp_path / "a.edf"


@pytest.mark.parametrize(("name", "delimiter"), [("m.csv", ";"), ("m.tsv", "\t"), ("m.csv", ",")])
def test_what_spreadsheets_write_is_read(read, tmp_path, name, delimiter):
    more = {"stimulus": "a; b,\tc", "valence": 3.5}
    manifest = read(more, name=name, delimiter=delimiter)
    path = tmp_path / name
    path.write_text("\ufeff" + path.read_text() + delimiter * 4 + "\r\n", encoding="utf-8")
    row = read_manifest(path).trials["p1"][0]
    assert (row.stimulus, row.ratings) == ("a; b,\tc", {"valence": 3.5})
    assert read_manifest(path).digest("p1") == manifest.digest("p1")


def test_parquet_says_the_same_as_csv(read, tmp_path):
    manifest = read({"eeg_start": 1.25, "label": "x"}, {"eeg_start": "", "label": ""})
    table = pd.DataFrame(rows({"eeg_start": 1.25, "label": "x"}, {"label": None}))
    table.to_parquet(tmp_path / "m.parquet")
    other = read_manifest(tmp_path / "m.parquet")
    assert other.digest("p1") == manifest.digest("p1")
    assert other.trials["p1"][1].eeg_start is None


def test_stimuli_are_numbered_over_all_subjects_by_their_names(read):
    manifest = read({"stimulus": "sea"}, {"stimulus": "dog"}, {"subject": "p2", "stimulus": "sea"})
    assert numbers(manifest) == {"dog": 1, "sea": 2}
    assert numbers(manifest, "p2") == {"sea": 2}


def test_stimuli_that_are_numbers_keep_them(read):
    assert numbers(read({"stimulus": "10"}, {"stimulus": "9"})) == {"10": 10, "9": 9}
    assert numbers(read({"stimulus": "10"}, {"stimulus": "09"})) == {"09": 1, "10": 2}


def test_a_stimulus_that_is_shown_again_is_another_trial_of_the_same_stimulus(read):
    """Its presentations are counted in the order of trials, however rows stand in the file."""
    shown = [(5, "b"), (2, "a"), (9, "a"), (1, "b"), (7, "a")]
    manifest = read(*({"stimulus": s, "trial": t} for t, s in shown),
                    {"subject": "p2", "stimulus": "b"})  # fmt: skip
    found = [(row.trial, row.stimulus, row.experiment_id) for row in manifest.trials["p1"]]
    assert found == [(1, "b", 2), (2, "a", 1), (5, "b", 2), (7, "a", 1), (9, "a", 1)]
    assert manifest.trials["p2"][0].experiment_id == 2


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), stimuli=st.integers(1, 6), names=st.booleans())
def test_each_cell_is_read_into_its_row(tmp_path_factory, seed, stimuli, names):
    """Of random manifests: uneven subjects, gaps, ratings of 0, rows in any order."""
    rng = np.random.default_rng(seed)
    cells, rows = ["", "n/a", "NaN", "null", "None"], []
    for subject, count in (("p1", 7), ("p2", 3), ("q", 1)):
        for trial in rng.choice(90, count, replace=False):
            number = int(rng.integers(stimuli))
            start, video = rng.integers(0, 40, 2) / 4
            rows.append({
                "subject": subject, "trial": trial,
                "stimulus": f"s{number:02d}" if names else str(number + 3),
                "eeg_file": f"{subject}.edf", "eeg_start": start, "eeg_stop": start + 1 + trial,
                "video_file": f"{subject}.mp4", "video_start": video,
                "face": rng.choice(["left", "right", "12 7.5 300 200", ""]),
                "valence": rng.integers(0, 3), "familiarity": rng.integers(0, 3) / 2,
                "label": "abc"[number % 3],
            })  # fmt: skip
            for column in ("eeg_start", "eeg_file", "video_file", "valence", "label"):
                if rng.random() < 0.2:
                    rows[-1][column] = rng.choice(cells[:3] if column == "label" else cells)
    order = rng.permutation(len(rows))
    folder = tmp_path_factory.mktemp("manifest")
    manifest = read_manifest(write_manifest(folder / "m.csv", [rows[i] for i in order]))
    presented = sorted(range(len(rows)), key=lambda i: (rows[i]["subject"], rows[i]["trial"]))
    assert [(r.subject, r.trial) for r in manifest.rows] == [
        (rows[i]["subject"], rows[i]["trial"]) for i in presented
    ]
    kinds = sorted({row["stimulus"] for row in rows})
    for read, i in zip(manifest.rows, presented, strict=True):
        row = {name: None if value in cells else value for name, value in rows[i].items()}
        for name in ("stimulus", "eeg_file", "eeg_start", "eeg_stop", "video_file", "label"):
            assert getattr(read, name) == row[name]
        assert read.video_start == row["video_start"]
        assert read.face == row["face"]
        rated = {name: row[name] for name in ("valence", "familiarity")}
        assert read.ratings == {name: value for name, value in rated.items() if value is not None}
        stimulus = kinds.index(row["stimulus"]) + 1 if names else int(row["stimulus"])
        assert read.experiment_id == stimulus
        assert read.line == 2 + list(order).index(i)


def test_a_subjects_digest_follows_its_own_rows_alone(read):
    second = {"subject": "p2", "trial": 1, "stimulus": "s1"}
    before = read({}, second)
    after = read({"eeg_stop": 9}, {**second, "eeg_stop": ""})
    assert after.digest("p1") != before.digest("p1")
    assert after.digest("p2") == before.digest("p2")
    moved = read({"trial": 2, "stimulus": "s1"}, {"subject": "p2", "trial": 1, "stimulus": "s1"})
    assert moved.digest("p1") != before.digest("p1")


def test_lines_that_stand_elsewhere_in_the_file_change_nothing(tmp_path):
    made = rows({}, {}, {"subject": "p2"})
    first = read_manifest(write_manifest(tmp_path / "a.csv", made))
    second = read_manifest(write_manifest(tmp_path / "b.csv", made[::-1]))
    assert [first.digest(s) for s in ("p1", "p2")] == [second.digest(s) for s in ("p1", "p2")]


def test_columns_that_are_not_read_are_known(read):
    manifest = read({"vidoe_file": "a.mp4", "age": 30})
    assert manifest.ignored == ["vidoe_file", "age"]


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (
            {"subject": "-p"},
            ("line 2", "subject", "'-p'", "letters, digits, hyphens and underscores"),
        ),
        ({"subject": ""}, ("line 2", "subject")),
        ({"stimulus": ""}, ("line 2", "stimulus", "empty")),
        ({"trial": "1.5"}, ("line 2", "trial", "'1.5'", "whole number")),
        ({"trial": ""}, ("line 2", "trial")),
        (
            {"eeg_start": "1,5"},
            ("line 2: eeg_start: '1,5' is not a number from 0 on; correct the cell",),
        ),
        ({"eeg_start": -1}, ("line 2", "eeg_start", "'-1'")),
        ({"eeg_start": 5, "eeg_stop": 5}, ("line 2", "eeg_stop", "5 s is not after")),
        ({"video_start": "inf"}, ("line 2", "video_start")),
        (
            {"video_start": 1, "video_offset": 2},
            ("line 2: video_offset: stands beside video_start",),
        ),
        (
            {"video_times": "t.csv", "video_rate": 1},
            ("line 2: video_times: stands beside video_rate",),
        ),
        ({"video_rate": 25}, ("line 2: video_rate: 25 is not the rate of a clock",)),
        ({"video_rate": 0}, ("line 2: video_rate: 0 is not the rate of a clock",)),
        ({"face": "middle"}, ("line 2", "face", "'middle' is not left, right or a box", "height")),
        ({"face": "1 2 3"}, ("line 2", "face", "'1 2 3'")),
        ({"face": "1 2 3 0"}, ("line 2", "face", "'1 2 3 0'")),
        ({"valence": "high"}, ("line 2", "valence", "'high'")),
    ],
    ids=str,
)
def test_a_cell_that_is_wrong_is_named(read, refused, change, parts):
    with refused("m.csv", *parts):
        read(change)


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("", ("no column subject",)),
        ("subject,trial,stimulus\np1,1,a\n", ("no column eeg_file", "video_file")),
        ("subject,trial,stimulus,eeg_file\n", ("holds no rows",)),
        ("subject,trial,stimulus,eeg_file\np1,1,a,b,c\n", ("line 2", "5 values for 4 columns")),
        ("subject,trial,trial,stimulus,eeg_file\n", ("column trial is there twice",)),
        ("subject,trial,stimulus,eeg_file\np,1,a,x\np,1,b,x\n", ("lines 2 and 3", "trial 1 twice")),
        ("subject,trial,stimulus,eeg_file\np,1,a,x\nP,1,a,x\n", ("P and p differ in case",)),
    ],
    ids=range(7),
)
def test_a_table_that_is_no_manifest_is_told(tmp_path, refused, content, parts):
    path = tmp_path / "m.csv"
    path.write_text(content)
    with refused("m.csv", *parts):
        read_manifest(path)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"PK\x03\x04\x00\xe9"])
def test_a_spreadsheet_itself_is_no_manifest(tmp_path, refused, content):
    (tmp_path / "m.csv").write_bytes(content)
    with refused("m.csv", "not a readable table", "CSV"):
        read_manifest(tmp_path / "m.csv")


def test_a_broken_parquet_file_is_told(tmp_path, refused):
    (tmp_path / "m.parquet").write_bytes(b"PAR1")
    with refused("m.parquet", "not a readable Parquet file"):
        read_manifest(tmp_path / "m.parquet")
    with refused("dataset.manifest", "no such file"):
        read_manifest(tmp_path / "absent.csv")


def test_trials_are_numbered_over_sessions_and_keep_the_labs_number(read, refused):
    shown = [("ses-10", 2), ("ses-2", 7), ("ses-10", 1), ("ses-2", 3)]
    rows = read(*({"session": s, "trial": t, "stimulus": f"{s}{t}"} for s, t in shown)).rows
    found = [(row.session, row.trial, row.name) for row in rows]
    assert found == [*zip(["ses-2"] * 2 + ["ses-10"] * 2, [1, 2, 3, 4], "3712", strict=True)]
    single = [{"session": "a", "trial": 7}, {"session": "a", "trial": 4}]
    assert [row.trial for row in read(*single).rows] == [4, 7]
    with refused("lines 2 and 3", "p1 has trial 4 of session a twice"):
        read(*({"session": "a", "trial": 4} for _ in range(2)), {"session": "b", "trial": 4})


def test_a_subject_may_be_named_as_in_bids(read):
    manifest = read({"subject": "sub-01"}, {"subject": "sub-02-b"})
    assert manifest.subjects == ["sub-01", "sub-02-b"]


def test_labels_none_and_null_are_labels(read):
    manifest = read({"label": "none"}, {"label": "None"}, {"label": "null"}, {"label": "n/a"})
    assert [row.label for row in manifest.rows] == ["none", "None", "null", None]
    assert manifest.classes == ["None", "none", "null"]


def test_names_that_differ_in_case_only_are_told(read):
    manifest = read({"label": "A", "stimulus": "x"}, {"label": "a"}, {"label": "b"})
    assert manifest.classes == ["A", "a", "b"]
    assert manifest.notes == ["label: A, a differ in case only and count as different"]


def test_decimal_commas_of_a_spreadsheet_are_read(tmp_path):
    path = tmp_path / "m.csv"
    path.write_bytes(
        b"\xef\xbb\xbfsubject;trial;stimulus;eeg_file;eeg_start;eeg_stop;valence\r\n"
        b"p1;1;a;x.edf;4,25;10,5;7,125\r\n;;;;;;\r\n\r\np1;2;b;x.edf;12;18,75;3\r\n"
    )
    rows = read_manifest(path).rows
    assert [(r.eeg_start, r.eeg_stop, r.ratings["valence"]) for r in rows] == [
        (4.25, 10.5, 7.125),
        (12, 18.75, 3),
    ]
    assert [row.line for row in rows] == [2, 5]


def test_a_wrong_cell_below_a_cell_of_two_lines_is_at_its_own_line(tmp_path, refused):
    path = tmp_path / "m.csv"
    path.write_text(
        'subject,trial,stimulus,eeg_file,note\np,1,a,x,"two\nlines"\n\np,x,b,x,"more\nlines"\n'
    )
    with refused("m.csv: line 5: trial: 'x' is not a number from 0 on"):
        read_manifest(path)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("eeg_end", "rename the column eeg_end to eeg_stop"),
        ("eeg stop", "rename the column eeg stop to eeg_stop"),
        ("eeg_stopp", "rename the column eeg_stopp to eeg_stop"),
        ("Stop", "rename the column stop to eeg_stop"),
        ("duration", "make it of eeg_start and duration"),
    ],
)
def test_a_misnamed_column_that_lets_trials_run_to_the_end_is_refused(read, refused, name, remedy):
    times = [{"eeg_start": 4 * i, name: 4 * i + 3} for i in range(3)]
    with refused(f"m.csv: no column eeg_stop, and 3 trials are of a.edf; {remedy}"):
        read(*times)
    files = [time | {"eeg_file": f"{i}.edf"} for i, time in enumerate(times)]
    assert read(*files).ignored == [name.lower()]
    right = [time | {"eeg_stop": 4 * i + 3} for i, time in enumerate(times)]
    assert [row.eeg_stop for row in read(*right).rows] == [3, 7, 11]


def test_a_misnamed_start_of_the_video_is_refused(read, refused):
    times = [{"video_file": "v.mp4", "video_onset": i} for i in range(2)]
    with refused("no column video_start, and 2 trials are of v.mp4", "rename the column video_on"):
        read(*times)
