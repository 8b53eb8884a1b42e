"""Options of recordings and labels that contradict each other are refused by what is wrong."""

import pytest
from pydantic import ValidationError

from milmer.data.options import DatasetOptions, LabelsOptions, RecordingOptions, subject_name
from milmer.data.recording import Recording

FOUR = ["Fp1", "Fp2", "C3", "C4"]
OWN = {"kind": "manifest", "manifest": "m.csv"}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"channels": FOUR[:3]}, "channels: name at least 4 EEG channels, or null"),
        ({"channels": [*FOUR, " fP1"]}, "channels: names 'fp1' twice"),
        ({"heog": ["a"]}, "heog and veog go together; set both or neither"),
        ({"veog": ["a", "b"]}, "heog and veog go together; set both or neither"),
        ({"kind": "manifest"}, "manifest: name the table of trials, or set kind to deap"),
        ({"subjects": []}, "list at least one subject, and each only once"),
        ({"subjects": ["s02", 2]}, "list at least one subject, and each only once"),
        (OWN | {"subjects": ["a", "b", " a"]}, "list at least one subject, and each only once"),
        ({"subjects": ["s00"]}, "'s00' is not a subject; write s01 or 1"),
    ],
    ids=str,
)
def test_a_dataset_that_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(ValidationError) as caught:
        DatasetOptions(**wrong)
    (error,) = caught.value.errors()
    assert error["msg"] == f"Value error, {message}"


def test_four_channels_and_both_eogs_are_enough():
    options = DatasetOptions(**OWN, channels=FOUR, heog=["a"], veog=["b", "c"], sfreq=None)
    assert options.recording == RecordingOptions(
        channels=FOUR, heog=["a"], veog=["b", "c"], sfreq=None
    )
    assert DatasetOptions(channels=FOUR).recording is None


def test_subjects_are_sorted_and_of_deap_named_as_its_files():
    assert DatasetOptions(subjects=[10, "s2", "S03"]).subjects == ["s02", "s03", "s10"]
    assert DatasetOptions(**OWN, subjects=["p10", " 2", "Eve"]).subjects == ["2", "Eve", "p10"]
    names = [subject_name(value) for value in (1, "1", "s01", "S1", " 32 ", "0099")]
    assert names == ["s01", "s01", "s01", "s01", "s32", "s99"]
    for wrong in ("s100", "0", "x1", "1.5", ""):
        with pytest.raises(ValueError, match="is not a subject"):
            subject_name(wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"classes": ["a", "b"]}, "classes: requires scheme label"),
        ({"scheme": "label", "classes": ["a", "b", "a"]}, "classes: names a class twice"),
        *(
            (
                {"ties": "as_published"} | wrong,
                "ties: as_published requires scheme quadrant and threshold 5",
            )
            for wrong in ({"scheme": "valence"}, {"threshold": 5.5}, {"threshold": "median"})
        ),
    ],
    ids=str,
)
def test_labels_that_make_no_sense_are_refused(wrong, message):
    with pytest.raises(ValidationError) as caught:
        LabelsOptions(**wrong)
    (error,) = caught.value.errors()
    assert error["msg"] == f"Value error, {message}"


@pytest.mark.parametrize(
    ("scheme", "scales"),
    [("quadrant", ["valence", "arousal"]), ("label", []), ("liking", ["liking"])],
)
def test_the_ratings_of_a_scheme(scheme, scales):
    assert LabelsOptions(scheme=scheme).scales == scales


def test_the_baseline_of_a_recording_is_that_of_the_trial_or_of_all():
    eeg = {4: None, 7: None}
    by_trial = Recording(eeg, None, False, ("Cz",), 128.0, baseline={4: 0.5, 7: 3.0})
    assert [by_trial.before(e) for e in eeg] == [0.5, 3.0]
    assert Recording(eeg, None, False, ("Cz",), 128.0).before(7) == 3.0
