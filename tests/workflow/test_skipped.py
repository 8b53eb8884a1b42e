"""Subjects and folds of which rejection leaves nothing: the run goes on, and says which and why."""

import pandas as pd
import pytest

from milmer import storage
from milmer.evaluation.screen import summary_screen
from tests.manifest.recordings import NAMES, edf, waves
from tests.workflow.runner import ONLY_MILMER, snakemake, write_config

TRIALS = {"p01": 8, "p02": 6, "p03": 4}
LOST = {
    "p01": {2},
    "p02": {1, 2, 3, 4, 5},
    "p03": {1, 2, 3, 4},  # all of it
}
SECONDS = 6


def write_dataset(folder):
    """EEG of subjects of unequal numbers of trials; two of six electrodes are loose in some."""
    rows = []
    for seed, (subject, trials) in enumerate(TRIALS.items()):
        eeg = waves(len(NAMES), 8 * trials + 4, seed=seed)
        for trial in LOST[subject]:
            first = 200 * (8 * trial - 4)
            eeg[1:3, first : first + 200 * SECONDS] *= 30
        edf(folder / f"{subject}.edf", eeg)
        rows += [
            (subject, t, f"v{t}", f"{subject}.edf", 8 * t - 4, 8 * t - 4 + SECONDS, "ab"[t % 2])
            for t in range(1, trials + 1)
        ]
    columns = ["subject", "trial", "stimulus", "eeg_file", "eeg_start", "eeg_stop", "label"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "manifest.csv", index=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("skipped")
    write_dataset(folder)
    write_config(
        folder,
        dataset={"kind": "manifest", "manifest": "manifest.csv"},
        labels={"scheme": "label"},
        protocols={"names": ["loso"]},
        model={"modalities": ["eeg"], "hidden_size": 32, "num_heads": 4, "feed_forward": 64},
        training={"epochs": 1, "threads": 1},
        experiments={
            **dict.fromkeys(ONLY_MILMER),
            "eeg_only": {"model": {"modalities": ["eeg"]}},
            "keeps": {"model": {"modalities": ["eeg"]}, "eeg": "keeps"},
        },
        variants={"eeg": {"keeps": {"bad_channels": "keep"}}},
    )
    done = snakemake(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def read(folder, name):
    return storage.read_table(folder / f"results/tables/{name}.parquet", "tables")


def test_the_run_goes_on_and_its_skipped_folds_are_told_with_their_reasons(folder):
    """p01 is left without validation (its two trials are of p02), p03 without a test part."""
    reasons = {
        "p01": "no segment is left for val (20 rejected)",
        "p03": "no segment is left for test (20 rejected)",
    }
    skipped = read(folder, "skipped")
    assert skipped[["experiment", "protocol", "fold", "reason"]].to_numpy().tolist() == [
        ["eeg_only", "loso", *row] for row in reasons.items()
    ]
    folds = read(folder, "folds").query("level == 'segment'").set_index(["experiment", "fold"])
    assert folds["tested"].to_dict() == {
        ("eeg_only", "p02"): 2,  # the one trial that is left
        **{("keeps", "p01"): 14, ("keeps", "p02"): 10, ("keeps", "p03"): 6},
    }
    summary = read(folder, "summary").query("level == 'segment' and metric == 'accuracy'")
    subjects = summary.set_index("experiment")[["subjects", "folds"]]
    assert tuple(subjects.loc["eeg_only"]) == (1, 1)
    assert tuple(subjects.loc["keeps"]) == (3, 3)
    tables = folder / "results/tables"
    texts = [(tables / "conclusions.md").read_text(), " ".join(summary_screen(tables).split())]
    page = (folder / "results/report/index.html").read_text()
    for fold, reason in reasons.items():
        assert f"`eeg_only` under `loso` skipped {fold}: {reason}." in texts[0]
        assert f"Skipped: eeg_only under loso, {fold}: {reason}." in texts[1]
        assert f"eeg_only, loso {fold}, seed 0 was skipped: {reason}" in page


def test_experiments_that_reject_unlike_are_compared_on_the_segments_of_both(folder):
    tests = read(folder, "tests").query("level == 'segment' and metric == 'accuracy'")
    counts = tests.set_index(["experiment", "against"])[["subjects", "segments", "left_out"]]
    assert tuple(counts.loc["keeps", "eeg_only"]) == (1, 2, 28)
    assert tuple(counts.loc["keeps", "majority"]) == (3, 30, 0)
    text = (folder / "results/tables/conclusions.md").read_text()
    assert (
        "`keeps` and `eeg_only` under `loso` are compared on the 2 test segments that both have; "
        "28 that only one of them has are left out."
    ) in text
