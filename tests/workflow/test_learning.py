"""On the twin: the model learns what is there, and leaky protocols show what is not."""

import pytest

from milmer.synthetic.twin import TwinOptions, synthesize
from tests.pipeline import p_above, predictions, right_trials, run

SMALL = {"hidden_size": 64, "num_heads": 4, "feed_forward": 128, "num_queries": 16}
TWIN = {"trials": 24, "seconds": 12, "width": 240, "height": 192, "fps": 10, "faceless": 0.0}


@pytest.fixture
def settings(twin_backbone):
    return {
        "faces": {"detector": "haar"},
        "backbone": {"name": str(twin_backbone), "threads": 1},
        "model": SMALL,
        "training": {"epochs": 20, "lr": 1e-3, "threads": 1},
    }


def twin(folder, **options):
    synthesize(folder, TwinOptions(**(TWIN | options)))
    return folder


@pytest.mark.parametrize(
    ("experiment", "signals"),
    [
        ("eeg", {"eeg_signal": 1, "face_signal": 0}),
        ("face", {"eeg_signal": 0, "face_signal": 1}),
    ],
)
def test_each_modality_alone_is_learned_above_the_majority(tmp_path, settings, experiment, signals):
    root = twin(tmp_path / "deap", subjects=1, **signals)
    user = settings | {
        "protocols": {"names": ["trial"], "folds": 3},
        "experiments": {experiment: {"model": {"modalities": [experiment]}}},
    }
    run(root, tmp_path / "work", user)
    right, total = right_trials(predictions(tmp_path / "work", experiment, "trial"))
    assert total == 24
    assert p_above(right, total, 0.25) < 1e-3, f"{right} of {total}"


def test_a_fingerprint_without_a_class_is_seen_by_segment_and_by_no_honest_protocol(
    tmp_path, settings
):
    root = twin(tmp_path / "deap", subjects=1, eeg_signal=0, face_signal=0, fingerprint=1)
    user = settings | {
        "protocols": {"names": ["segment", "trial"], "folds": 3},
        "experiments": {"milmer": {}},
    }
    run(root, tmp_path / "work", user)
    leaky = predictions(tmp_path / "work", "milmer", "segment")
    guess = leaky[[c for c in leaky if c.startswith("p_")]].to_numpy().argmax(1)
    right = int((guess == leaky["label"]).sum())
    assert p_above(right, len(leaky), 0.25) < 1e-3, f"segment: {right} of {len(leaky)}"
    right, total = right_trials(predictions(tmp_path / "work", "milmer", "trial"))
    assert total == 24
    assert p_above(right, total, 0.25) > 0.01, f"trial: {right} of {total}"
