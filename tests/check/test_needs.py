"""The estimate of disk and time."""

import pytest

from milmer.check.needs import Need, needs
from milmer.config import Config, load_config


def by_stage(facts, config=None):
    return {need.stage: need for need in needs(facts, config or Config())}


def test_a_whole_copy_needs_what_was_planned_for(deap):
    """20 segments of 40 trials of 32 subjects; 874 clips of 20 bags of 10 frames."""
    need = by_stage(deap)
    assert need["segments"].count == 25_600
    assert need["segments"].bytes == 25_600 * 32 * 384 * 4
    assert need["tokens"].count == need["faces"].count == 874 * 200
    assert need["tokens"].bytes == 174_800 * 49 * 768 * 2
    assert need["runs"].count == 22 * 5 + 22
    assert need["segments"].seconds == pytest.approx(32)
    assert need["faces"].seconds == pytest.approx(874 * 2952 / 1221)
    assert need["tokens"].seconds == pytest.approx(174_800 / 22)
    trial, loso = 17_480 * 5 * 0.8 * 0.8, 17_480 * 21 * 0.8  # bags of all folds, an epoch
    assert need["runs"].seconds == pytest.approx((trial + loso) * 100 / 19.3)


def test_a_quick_look_takes_trials_to_be_as_long_as_in_deap(deap):
    expected = needs(deap, Config())
    deap.quick = True
    for subject in deap.subjects.values():
        subject.clips = dict.fromkeys(subject.clips)
        for trial in subject.trials:
            trial.seconds = None
    assert needs(deap, Config()) == expected


def test_what_is_missing_or_no_run_takes_needs_nothing(deap):
    before = by_stage(deap)
    deap.subjects["s32"].eeg = {}
    deap.subjects["s01"].clips[3] = None
    after = by_stage(deap)
    assert before["segments"].count - after["segments"].count == 800
    assert before["faces"].count - after["faces"].count == 200


def test_a_subject_alone_is_trained_within_itself(deap):
    deap.subjects = {"s01": deap.subjects["s01"]}
    assert by_stage(deap)["runs"].count == 5
    deap.subjects["s01"].clips.clear()
    assert by_stage(deap)["runs"] == Need("runs", 0, "models", 0, 0)


def test_the_needs_are_those_of_the_configuration(deap):
    user = {
        "dataset": {"subjects": [1, 2, 24]},
        "segmentation": {"seconds": 6},
        "faces": {"instances": 4},
        "training": {"epochs": 3},
        "protocols": {"names": ["trial"], "folds": 4, "repeats": 2, "validation": 0.25},
        "experiments": {"both": {}, "eeg": {"model": {"modalities": ["eeg"]}}},
    }
    need = by_stage(deap, load_config(user))
    assert need["segments"].count == 3 * 40 * 10
    assert need["segments"].bytes == 1200 * 32 * 768 * 4
    assert need["faces"].count == 2 * 40 * 10 * 4
    assert need["runs"].count == 2 * (2 * 4 + 3 * 4)  # s24 has no video
    looks = 2 * 3 * (2 + 3) * 400 * 4 * (3 / 4) * (3 / 4)
    assert need["runs"].seconds == pytest.approx(looks / 19.3)
    eeg = user | {"experiments": {"eeg": {"model": {"modalities": ["eeg"]}}}}
    assert by_stage(deap, load_config(eeg))["tokens"].count == 0
