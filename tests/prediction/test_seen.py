"""What a model says it has seen: by content and time, and without naming anyone."""

import json

import numpy as np
import pandas as pd
import pytest

from milmer import storage
from milmer.prediction.options import PredictOptions
from milmer.prediction.predict import RecordingFiles, predict
from milmer.prediction.seen import Content, Seen, part_of, sentence
from milmer.training.recipe import FILE, seen_content

FIRST, SECOND = "a" * 16, "b" * 16
SEEN = [
    [Seen(FIRST, None, "train", 10, 22), Seen(FIRST, None, "val", 30, 36)],
    [Seen(SECOND, 4, "test", 0, 12)],
]


@pytest.mark.parametrize(
    ("content", "start", "part"),
    [
        (Content(FIRST + "0", 0.0), 9, "train"),
        (Content(FIRST, 0.0), 7, None),  # ends where the trial begins
        (Content(FIRST, 0.0), 22, None),
        (Content(FIRST, 5.0), 26, "val"),  # from 31 to 34 s of the recording
        (Content(FIRST, 5.0), 20, None),
        (Content(FIRST, 0.0, 4), 9, None),  # another trial of a file with times of their own
        (Content(SECOND, 0.0, 4), 9, "test"),
        (Content(SECOND, 0.0), 9, None),
        (Content("c" * 64, 0.0), 9, None),
    ],
)
def test_a_segment_was_in_the_part_that_holds_some_of_its_time(content, start, part):
    assert part_of(SEEN, [content], start, start + 3) == part


def test_training_counts_above_validation_and_any_of_eeg_and_video_counts():
    assert part_of(SEEN, [Content(SECOND, 0.0, 4), Content(FIRST, 0.0)], 20, 23) == "train"
    both = [[*SEEN[0], Seen(FIRST, None, "val", 21, 25)]]
    assert part_of(both, [Content(FIRST, 0.0)], 20, 23) == "train"


@pytest.mark.parametrize(
    ("digest", "parts", "words"),
    [
        (FIRST, ["train", None, "val", "train"], "Of 4 segments 2 trained the model and 1 valid"),
        (FIRST, [None, None], "others of the same subject did: it knows this person"),
        (SECOND, ["test", "test"], "was tested on this recording, and trained on other subjects"),
        ("c" * 16, [None], "nothing of this recording was in the model's training"),
    ],
)
def test_the_first_line_says_it(digest, parts, words):
    assert words in sentence(SEEN, [Content(digest, 0.0)], pd.Series(parts, dtype="string"))
    before = sentence(SEEN, [Content(digest, 0.0)], pd.Series(["test"]), [digest[:9]])
    assert ("before its last training" in before) == (digest != FIRST)
    unknown = sentence([], [Content(digest, 0.0)], pd.Series(parts, dtype="string"))
    assert unknown.endswith("is not known.")


def parts_of(run):
    return storage.read_table(run.parent / "s01-k0.parquet").set_index(["trial", "position"])[
        "part"
    ]


def test_segments_of_training_are_marked_everywhere(run, whole):
    table = storage.read_table(whole / "predictions.parquet")
    expected = parts_of(run).loc[list(zip(table["trial"], table["position"], strict=True))]
    assert table["seen"].tolist() == expected.tolist()
    counts = table["seen"].value_counts()
    assert set(counts.index) == {"train", "val", "test"}
    csv = pd.read_csv(whole / "predictions.csv")
    assert csv["seen"].tolist() == expected.tolist()
    line = (
        f"Of {len(table)} segments {counts['train']} trained the model and {counts['val']} "
        "validated it"
    )
    page = (whole / "index.html").read_text()
    assert line in page.partition("</p>")[0]
    assert page.count("<td>training</td>") == counts["train"]
    assert "which <code>milmer predict</code> does" in page  # its Markdown
    about = json.loads((whole / "about.json").read_text())
    assert about["training"].startswith(line)
    digest = storage.digest(run / "model/model.safetensors")[:12]
    inputs = about["provenance"]["inputs"]
    recording = f"EEG {inputs['eeg'][:12]}, trials {inputs['trials'][:12]}. "
    assert f"Recording: {recording}{table['trial'].nunique()} trials, " in page
    assert f"Model {digest}, protocol trial" in page


def test_a_continuous_recording_is_marked_by_time(original, bdf, tmp_path):
    run, trials = original
    start, seconds, trial = (storage.read_table(trials).sort_values("eeg_start").iloc[0])[
        ["eeg_start", "eeg_seconds", "trial"]
    ]
    options = PredictOptions(start=max(0, start - 4), stop=start + seconds)
    predict(run, RecordingFiles(eeg=bdf), options, tmp_path / "out")
    table = storage.read_table(tmp_path / "out/predictions.parquet")
    part = parts_of(run).loc[trial].iloc[0]
    inside = table["stop"] > start + 1e-3
    assert (table["seen"].isna() == ~inside).all()
    assert set(table["seen"][inside]) == {part}
    assert 0 < inside.sum() < len(table)


def test_a_model_names_nobody_whom_it_has_seen(run):
    recipe = json.loads((run / "model" / FILE).read_text())
    (entries,) = recipe["seen"]
    assert {len(digest) for digest, *_ in entries} == {16}
    assert "s01" not in json.dumps(entries)
    minutes = {
        part: sum(stop - start for *_, p, start, stop in entries if p == part)
        for part in ("train", "val", "test")
    }
    # Of EEG and of video.
    counts = parts_of(run).value_counts()
    assert {part: length / 6 for part, length in minutes.items()} == counts.to_dict()


def test_of_a_leaky_split_each_stretch_has_its_part(tmp_path):
    rows = {"subject": "p1", "trial": 3, "position": range(6), "experiment_id": 8, "label": 0}
    table = pd.DataFrame(rows).assign(part=["train", "train", "test", "train", "val", "val"])
    table = table.assign(eeg_digest="d" * 64, eeg_start=100.0)
    provenance = storage.provenance("split", "milmer.errors", {}, {})
    provenance["options"] = {"segmentation": {"seconds": 4.0, "overlap": 1.0}}
    facts = {"protocol": "segment", "fold": "p1", "leaky": True, "labels": ["a"]}
    facts |= {"scheme": "label", "warnings": []}
    storage.write_table(tmp_path / "p1.parquet", table, provenance | {"facts": facts})
    (entries,) = seen_content(tmp_path / "p1.parquet", eeg=True, video=True)
    assert [entry[2:] for entry in entries] == [
        ["train", 100, 107],
        ["train", 109, 113],
        ["test", 106, 110],
        ["val", 112, 119],
    ]
    assert np.unique([entry[0] for entry in entries]).tolist() == ["d" * 16]
