"""A fold of which a part is left with nothing is written as skipped, and everything goes on."""

import json

import pytest
from safetensors import safe_open

from milmer import storage
from milmer.contracts.baseline import BASELINE
from milmer.evaluation.baseline_options import BaselinesOptions
from milmer.evaluation.baselines import make_baselines
from milmer.evaluation.evaluate import evaluate_run
from milmer.evaluation.explain import explain_run
from milmer.evaluation.explain_options import ExplainOptions
from milmer.splits.options import SplitOptions
from milmer.splits.splits import make_split
from milmer.training.fold_data import read_fold
from milmer.training.loop import train_fold
from milmer.training.options import TrainOptions
from milmer.training.skipped import skip_reason
from tests import asymmetric

# One of its 13 segments has no rating.
REASON = "no segment is left for test (12 rejected)"


@pytest.fixture
def fold(study, tmp_path):
    """``fold(subject)``: the split of ``loso`` that tests s03, where ``subject`` is unusable."""

    def make(*subjects):
        path, trials = tmp_path / "split.parquet", list(study.trials.values())
        make_split(trials, "loso", "s03", SplitOptions(validation=0.3), path)
        segments = [
            asymmetric.write_segments(
                tmp_path / "segments",
                subject,
                study.trials[subject],
                rejected=dict.fromkeys(range(99), b"gap") if subject in subjects else None,
            )
            for subject in study.trials
        ]
        return path, segments

    return make


LAST = {"training": {"select": "last"}}


@pytest.mark.parametrize(
    ("left", "options", "empty"),
    [
        ("train val test", {}, None),
        ("train val", {}, "test"),
        ("train test", {}, "val"),
        ("train test", LAST, None),
        ("train test", LAST | {"validation": False}, None),
        ("val test", {}, "train"),
        ("val test", LAST, "train"),
        ("val test", LAST | {"validation": False}, None),
        ("test", LAST | {"validation": False}, "train"),
        ("train", {}, "val, test"),
    ],
)
def test_a_fold_is_skipped_where_a_part_that_it_needs_is_empty(fold, left, options, empty):
    data = read_fold(*fold(), [])
    assert set(data.table["part"]) == {"train", "val", "test"}
    data.table = data.table[data.table["part"].isin(left.split())]
    reason = skip_reason(data, TrainOptions.model_validate(options))
    assert (reason and reason.partition(" (")[0]) == (empty and f"no segment is left for {empty}")


def test_a_skipped_run_has_all_its_files_and_says_why(fold, study, tmp_path):
    path, segments = fold("s03")
    options = TrainOptions.model_validate({"model": {"modalities": ["eeg"]}})
    run = tmp_path / "run"
    train_fold(path, segments, [], options, 0, run)
    with safe_open(run / "model/model.safetensors", "np") as weights:
        assert list(weights.keys()) == []
    for name in ("config.json", "milmer_processor.json"):
        assert json.loads((run / "model" / name).read_text()) == {"skipped": REASON}
    for name in ("predictions", "validation", "history"):
        assert len(storage.read_table(run / f"{name}.parquet", name)) == 0
    evaluate_run(run)
    metrics = json.loads((run / "metrics.json").read_text())
    assert (metrics["skipped"], metrics["rejected"]) == (REASON, {"test": 12})
    assert REASON in (run / "model/README.md").read_text()
    explain_run(run, path, segments, [], ExplainOptions(), tmp_path / "explained.h5")
    with storage.open_h5(tmp_path / "explained.h5", "explain") as file:
        assert (file["channel"].size, file["attention"].size) == (0, 0)
    inputs = [(segments[0].parent.name, "")]
    options = BaselinesOptions(folds=[path.stem], names=["band_power"], inputs=inputs)
    make_baselines(path.parent, segments, [], options, tmp_path)
    (baseline,) = (tmp_path / "band_power").rglob("*.parquet")
    assert len(storage.read_table(baseline, BASELINE)) == 0
    (fold,) = storage.read_provenance(baseline)["facts"]["folds"]
    assert fold["skipped"] == REASON.replace("rejected", "left out")
    assert (fold["fold"], fold["left_out"]) == (path.stem, {"test": 12})
