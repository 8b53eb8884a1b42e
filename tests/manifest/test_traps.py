"""Manifests that would make noise predictable: each is refused, or its trials are kept together."""

import shutil

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from milmer import storage
from milmer.data.options import DatasetOptions
from milmer.evaluation.features import log_band_power
from milmer.manifest.dataset import ManifestDataset
from milmer.manifest.table import read_manifest
from milmer.manifest.trials import ManifestTrialsOptions, make_manifest_trials
from milmer.plan import Plan
from milmer.plan.copies import copies
from milmer.plan.problems import require_ready
from milmer.splits.folds import fold_names, fold_subjects
from milmer.splits.options import SplitOptions
from milmer.splits.splits import make_split
from tests.manifest.described import write_manifest
from tests.manifest.recordings import brainvision, edf, waves

WINDOWS, SECONDS, RATE, DRAWS = 30, 6, 200, 6
NAMES = "Fp1 Fp2 F3 F4 F7 F8 C3 C4 T7 T8 P3 P4 P7 P8 O1 O2".split()  # noqa: SIM905
BANDS = [(4, 8), (8, 13), (13, 30)]
LEAKS, CHANCE = 0.8, 0.58


class Lab:
    """A folder with recordings of noise, and manifests of windows of them."""

    def __init__(self, folder):
        self.folder, self.eeg = folder, {}
        for seed, name in enumerate(("one", "two", "three")):
            self.eeg[name] = waves(len(NAMES), WINDOWS * 8 + 4, RATE, seed)
            edf(folder / f"{name}.edf", self.eeg[name], NAMES, RATE)

    def copy(self, name, to):
        shutil.copy(self.folder / f"{name}.edf", self.folder / f"{to}.edf")
        self.eeg[to] = self.eeg[name]

    def trials(self, *rows):
        """The tables of trials of a manifest, and its dataset."""
        path = write_manifest(self.folder / "m.csv", list(rows))
        manifest, tables = read_manifest(path), {}
        for subject in manifest.subjects:
            options = ManifestTrialsOptions(rows=manifest.digest(subject))
            tables[subject] = self.folder / f"{subject}.parquet"
            make_manifest_trials(path, subject, options, tables[subject])
        options = DatasetOptions(kind="manifest", manifest=str(path))
        dataset = ManifestDataset(manifest, options)
        for _, error in copies(dataset):
            raise error
        return tables, dataset

    def accuracy(self, tables, dataset, protocol, together=True):
        """Of shrinkage LDA on band power, where a window has the same class under any name."""
        hits = []
        for draw in range(DRAWS):
            names = np.random.default_rng(draw).permutation(["a", "b"] * (WINDOWS // 2))
            paths, features = {}, {}
            for subject, path in tables.items():
                table = storage.read_table(path).astype({"stimulus": int})
                table["label"] = names[table["stimulus"]]
                table = table if together else table.assign(group=None)
                paths[subject] = self.folder / "drawn" / f"{subject}.parquet"
                about = storage.provenance("trials", "milmer.errors", {}, {})
                storage.write_table(paths[subject], table.astype({"stimulus": str}), about)
                for row in table.itertuples():
                    first = round(row.eeg_start * RATE)
                    x = self.eeg[row.eeg_file.removesuffix(".edf")]
                    features[subject, row.trial] = x[:, first : first + SECONDS * RATE]
            keys = list(features)
            power = log_band_power(np.stack([features[key] for key in keys]), RATE, BANDS)
            tied = dataset.held_out_with if together else None
            for fold in fold_names(protocol, list(tables), 5, dataset.sessions, tied):
                out = self.folder / "split.parquet"
                options = SplitOptions(
                    labels={"scheme": "label", "classes": ["a", "b"]},
                    segmentation={"seconds": SECONDS}, validation=0, folds=5,
                )  # fmt: skip
                read = [paths[s] for s in fold_subjects(protocol, fold, list(tables))]
                make_split(read, protocol, fold, options, out)
                split = storage.read_table(out)
                tested = zip(split["subject"], split["trial"], strict=True)
                rows = [keys.index(key) for key in tested]
                x, y, test = power[rows], split["label"].to_numpy(), split["part"] == "test"
                model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
                hits += list(model.fit(x[~test], y[~test]).predict(x[test]) == y[test])
        return np.mean(hits)


@pytest.fixture
def lab(tmp_path):
    return Lab(tmp_path)


def windows(file="one", subject="p01", first=1, shift=0.0, **columns):
    """A row a window of a recording."""
    return [
        {
            "subject": subject, "trial": first + i, "stimulus": i, "eeg_file": f"{file}.edf",
            "eeg_start": 8 * i + shift, "eeg_stop": 8 * i + shift + SECONDS,
            "label": "ab"[i % 2], "session": "", "group": "", "video_file": "", "video_start": "",
        } | columns
        for i in range(WINDOWS)
    ]  # fmt: skip


def grouped(tables, subject="p01"):
    """The trials of each group of two or more."""
    table = storage.read_table(tables[subject])
    return [list(part["trial"]) for _, part in table.groupby("group", sort=False)]


def again(*changes):
    """The windows, and the same ones once more with each of ``changes``."""
    rows = [windows(first=1 + n * WINDOWS, **c) for n, c in enumerate(({}, *changes))]
    groups = [[1 + i + n * WINDOWS for n in range(len(rows))] for i in range(WINDOWS)]
    return [row for part in rows for row in part], groups


@pytest.mark.parametrize(
    "changes",
    [
        ({"shift": 0.5}, {"shift": 1.0}, {"shift": 1.5}),
        ({}, {}),
        ({"file": "copy"}, {"file": "copy"}),
    ],
    ids=["rows that overlap", "a window listed again", "a file copied"],
)
def test_what_shares_samples_is_one_group_and_noise_is_no_longer_predictable(lab, changes):
    lab.copy("one", "copy")
    rows, groups = again(*changes)
    tables, dataset = lab.trials(*rows)
    assert grouped(tables) == groups
    assert lab.accuracy(tables, dataset, "trial", together=False) > LEAKS
    assert lab.accuracy(tables, dataset, "trial") < CHANCE


def test_trials_that_touch_or_share_one_sample_are_not_one_group(lab):
    rows = windows()
    for i, row in enumerate(rows):
        row["eeg_start"], row["eeg_stop"] = 6 * i, 6 * (i + 1) + (i % 2) / RATE
    assert grouped(lab.trials(*rows)[0]) == []
    rows[3]["eeg_stop"] += 1 / RATE
    assert grouped(lab.trials(*rows)[0]) == [[4, 5]]


def test_trials_of_the_same_stretch_of_video_are_one_group(lab):
    (lab.folder / "v.mp4").write_bytes(b"not looked into")
    shutil.copy(lab.folder / "v.mp4", lab.folder / "w.mp4")
    rows = windows(video_file="v.mp4")
    for i, row in enumerate(rows):
        row["video_start"] = 10 * i
    rows[5] |= {"video_start": 25, "video_file": "w.mp4"}
    assert grouped(lab.trials(*rows)[0]) == [[3, 4, 6]]
    rows[5]["video_start"] = 26
    assert grouped(lab.trials(*rows)[0]) == [[4, 6]]


def test_two_people_in_one_video_have_a_face_each(lab, refused):
    (lab.folder / "v.mp4").write_bytes(b"not looked into")

    def rows(face):
        video = {"video_file": "v.mp4", "video_start": 0}
        first, second = windows(face="left", **video), windows("two", "p02", face=face, **video)
        return first[0], second[0]

    lab.trials(*rows("right"))
    for face in ("left", ""):
        with refused("p01 and p02 have the same samples (v.mp4)"):
            lab.trials(*rows(face))


@pytest.mark.parametrize("file", ["one", "copy"])
def test_one_recording_under_two_subjects_is_refused_by_both_names(lab, refused, file):
    lab.copy("one", "copy")
    with refused("p01 and p02 have the same samples", "one.edf", "lines 2 and 32", "one group"):
        lab.trials(*windows(), *windows(file, "p02"))


def test_a_copy_of_a_subject_whose_tables_are_made_is_refused_by_the_plan(lab, refused):
    lab.copy("one", "copy")
    lab.trials(*windows(), *windows("two", "p02"))
    rows = [*windows(), *windows("two", "p02"), *windows("copy", "p03")]
    path = write_manifest(lab.folder / "m.csv", rows)
    user = {
        "dataset": {"kind": "manifest", "manifest": str(path)},
        "labels": {"scheme": "label"},
        "protocols": {"names": ["trial"]},
        "experiments": {"eeg_only": {"model": {"modalities": ["eeg"]}}},
    }
    with refused("p01 and p03 have the same samples (one.edf and copy.edf)", "lines 2 and 62"):
        require_ready(Plan.read(user))
    require_ready(Plan.read(user | {"dataset": user["dataset"] | {"subjects": ["p02", "p03"]}}))


def test_the_same_face_of_a_video_in_any_row_is_refused(lab, refused):
    """The first rows of both take another face, and so do all rows of one of them."""
    (lab.folder / "v.mp4").write_bytes(b"not looked into")

    def rows(second):
        faces = {"p01": ["left", "left", second], "p02": ["right", "right", "right"]}
        return [
            window | {"video_file": "v.mp4", "video_start": 9 * i, "face": face}
            for name, subject in (("one", "p01"), ("two", "p02"))
            for i, (window, face) in enumerate(
                zip(windows(name, subject)[:3], faces[subject], strict=True)
            )
        ]

    lab.trials(*rows("left"))
    for second in ("right", ""):
        with refused("p01 and p02 have the same samples (v.mp4)"):
            lab.trials(*rows(second))


def test_a_copy_is_told_by_its_samples_and_not_by_its_header(lab, refused):
    """Data of BrainVision under a header of another name, one of whose parts has a name too."""
    for folder, subject in (("x", "p01"), ("y", "p02")):
        (lab.folder / folder).mkdir()
        path = brainvision(lab.folder / folder / f"{subject}.vhdr", waves(6, 20))
        path.write_text(path.read_text() + f"; of {subject}\n")
    rows = [w | {"eeg_stop": 9, "eeg_start": 1} for w in (windows()[0], windows(subject="p02")[0])]
    rows[0]["eeg_file"], rows[1]["eeg_file"] = "x/p01.vhdr", "y/p02.vhdr"
    with refused("p01 and p02 have the same samples", "p01.vhdr and p02.vhdr"):
        lab.trials(*rows)
    data = lab.folder / "y/data.eeg"
    content = bytearray(data.read_bytes())
    content[-1] ^= 1
    data.write_bytes(content)
    lab.trials(*rows)


def test_subjects_that_a_group_ties_are_held_out_together(lab):
    lab.copy("one", "copy")
    rows = [
        *windows(), *windows("copy", "p02"), *windows("two", "p03"), *windows("three", "p04")
    ]  # fmt: skip
    rows[7]["group"] = rows[WINDOWS + 2]["group"] = "pair"
    tables, dataset = lab.trials(*rows)
    assert dataset.held_out_with == {"p01": "p01", "p02": "p01", "p03": "p03", "p04": "p04"}
    assert lab.accuracy(tables, dataset, "loso") < CHANCE
    assert fold_names("loso", list(tables), 5, {}, dataset.held_out_with) == ["p01", "p03", "p04"]
    options = SplitOptions(labels={"scheme": "label", "classes": ["a", "b"]})
    make_split(list(tables.values()), "loso", "p01", options, lab.folder / "s.parquet")
    split = storage.read_table(lab.folder / "s.parquet")
    assert set(split.loc[split["part"] == "test", "subject"]) == {"p01", "p02"}
    leaking = dict(list(tables.items())[:2])
    assert lab.accuracy(leaking, dataset, "loso", together=False) > LEAKS


def test_a_session_that_is_another_one_again_cannot_be_held_out(lab, refused):
    lab.copy("one", "copy")
    rows = [*windows(session="ses-1"), *windows("copy", session="ses-2")]
    tables, dataset = lab.trials(*rows)
    assert dataset.sessions == {"p01": 2}
    assert storage.read_table(tables["p01"])["trial"].tolist() == list(range(1, 2 * WINDOWS + 1))
    assert lab.accuracy(tables, dataset, "session", together=False) > LEAKS
    with refused("session p01-k0: 1 groups cannot make 2 folds", "holds 100% of the trials"):
        lab.accuracy(tables, dataset, "session")
    assert lab.accuracy(tables, dataset, "trial") < CHANCE


def test_an_overlap_of_all_trials_leaves_no_protocol_trial(lab, refused):
    rows = windows()
    for i, row in enumerate(rows):
        row["eeg_start"], row["eeg_stop"] = 4 * i, 4 * i + 6
    tables, dataset = lab.trials(*rows)
    with refused("trial p01-k0: 1 groups cannot make 5 folds", "'p01 trial 1 and 29 more' holds"):
        lab.accuracy(tables, dataset, "trial")


def test_a_class_that_stands_in_one_group_is_refused_by_its_share(lab, refused):
    rows = windows(label="b")
    for row in rows[:3]:
        row |= {"label": "a", "group": "start"}
    tables, _ = lab.trials(*rows)
    options = SplitOptions(labels={"scheme": "label", "classes": ["a", "b"]})
    with refused("all trials of class a are in one group: 'start' holds 10% of the trials"):
        make_split([tables["p01"]], "trial", "p01-k0", options, lab.folder / "s.parquet")


def test_two_groups_by_name_cannot_share_samples(lab, refused):
    rows = windows()
    rows[1] |= {"eeg_start": 2, "eeg_stop": 8, "group": "x"}
    rows[0]["group"] = "y"
    with refused("line 3", "shares samples with trial 1", "the groups x and y"):
        lab.trials(*rows)


@pytest.mark.parametrize(
    ("columns", "remedy"),
    [
        ({"eeg_start": "onset"}, "no column eeg_start, and 30 trials are of one.edf; rename the "
         "column onset to eeg_start"),
        ({"eeg_start": "eeg_strat"}, "rename the column eeg_strat to eeg_start"),
        ({"eeg_stop": "eeg_duration"}, "make it of eeg_start and eeg_duration"),
    ],
    ids=["onset", "misspelt", "duration"],
)  # fmt: skip
def test_a_misnamed_column_would_make_each_trial_most_of_the_file(lab, refused, columns, remedy):
    """Without the column, trials of noise share what they are told apart by."""
    rows = [{columns.get(k, k): v for k, v in row.items()} for row in windows()]
    with refused("m.csv: ", remedy):
        lab.trials(*rows)
    # The same table in words that nobody could take for the column is made, and leaks no more.
    rows = [{("x" if k in columns else k): v for k, v in row.items()} for row in windows()]
    tables, dataset = lab.trials(*rows)
    assert grouped(tables) == [list(range(1, WINDOWS + 1))]
    if "eeg_stop" in columns:  # windows from each start to the end of the file
        with refused("1 groups cannot make 5 folds"):
            lab.accuracy(tables, dataset, "trial")
