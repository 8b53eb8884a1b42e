import pytest

from milmer.config import PRESETS, load_config

CLEANED = {"artefacts": "ica", "bad_channels": "interpolate", "notch": 50, "baseline": "zscore"}


def test_the_published_layout_holds_beside_any_cleaning():
    config = load_config({"eeg": CLEANED, "experiments": {"a": {}, "b": {"eeg": "as_published"}}})
    published = config.variant("eeg", "as_published")
    assert published.layout == "as_published"
    assert (published.artefacts, published.bad_channels) == ("none", "keep")
    assert (published.notch, published.baseline) == (None, "none")
    assert config.eeg.notch == 50
    whole = load_config({"preset": "published"})
    assert whole.eeg.model_dump().items() >= PRESETS["published"]["eeg"].items()


@pytest.mark.parametrize("name", CLEANED)
def test_the_published_layout_goes_with_no_cleaning(name, refused):
    with refused("eeg", "as_published", f"with this {name};", "bad_channels: keep"):
        load_config({"preset": "published", "eeg": {name: CLEANED[name]}})


@pytest.mark.parametrize(
    "wrong",
    [
        {"artefacts": "regression"},
        {"bad_channels": "drop"},
        {"baseline": "mean"},
        {"notch": 0},
        {"notch": -50},
        {"eog_correlation": 1},
        {"eog_correlation": 0},
    ],
)
def test_a_wrong_value_is_told(wrong, refused):
    ((name, value),) = wrong.items()
    with refused(f"eeg.{name}: {value!r} is not allowed"):
        load_config({"eeg": wrong})


def test_values_may_come_as_text():
    text = {"notch": "null", "eog_correlation": "0.4", "artefacts": "none"}
    assert (
        load_config({"eeg": text}).eeg
        == load_config({"eeg": {"notch": None, "eog_correlation": 0.4, "artefacts": "none"}}).eeg
    )
    assert load_config({"eeg": {"notch": "50"}}).eeg.notch == 50
