import json
import logging

import mne
import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from milmer.deap.layout import GENEVA
from milmer.eeg import artefacts
from milmer.eeg.bad_channels import find_bad_channels
from milmer.eeg.cleaning import chosen_method, clean
from milmer.eeg.filtering import band_pass, high_pass
from milmer.eeg.options import EEGOptions

SFREQ = 128.0
SAMPLES = 15 * 128
FRONT = [GENEVA.index(name) for name in ("Fp1", "Fp2")]
BACK = [GENEVA.index(name) for name in ("O1", "Oz", "O2")]
METHODS = ["eog_regression", "ica"]


def cleaned_with(recording, referenced, **options):
    return clean(
        recording["eeg"], recording["eog"], GENEVA, SFREQ, referenced, EEGOptions(**options)
    )


def positions():
    """Where the channels sit on a head of radius 1: (channel, xyz), x to the right, y forwards."""
    info = mne.create_info(GENEVA, SFREQ, "eeg").set_montage("biosemi32")
    where = np.array([channel["loc"][:3] for channel in info["chs"]])
    return where / np.linalg.norm(where, axis=1, keepdims=True)


def pink(rng, shape):
    """Noise of unit variance whose power falls with the frequency."""
    spectrum = np.fft.rfft(rng.laplace(size=shape))
    spectrum[..., 1:] /= np.sqrt(np.arange(1, spectrum.shape[-1]))
    spectrum[..., 0] = 0
    noise = np.fft.irfft(spectrum, shape[-1])
    return noise / noise.std(axis=-1, keepdims=True)


def brain(trials, samples=SAMPLES, seed=0):
    """EEG of sources all over the head that wax and wane: (trial, channel, sample) in µV."""
    rng = np.random.default_rng(seed)
    sources = rng.standard_normal((40, 3))
    sources[:, 2] = np.abs(sources[:, 2])
    sources /= np.linalg.norm(sources, axis=1, keepdims=True)
    near = np.exp(4 * (positions() @ sources.T - 1))  # (channel, source)
    beginning, rate = rng.uniform(0, 7, (2, trials, 40, 1))
    waxing = np.exp(np.sin(rate * np.arange(samples) / SFREQ + beginning))
    eeg = 8 * near @ (waxing * pink(rng, (trials, 40, samples)))
    return eeg + rng.standard_normal(eeg.shape)


def eyes(trials, samples=SAMPLES, seed=1):
    """Blinks and saccades in µV: EOG (trial, 2, sample), and one onset list of blinks a trial."""
    rng = np.random.default_rng(seed)
    eog = np.zeros((trials, 2, samples))
    onsets = []
    blink = 200 * np.sin(np.linspace(0, np.pi, 40)) ** 2  # 0.3 s
    for trial in eog:
        starts = np.arange(100, samples - 100, 400) + rng.integers(0, 200)
        onsets.append([int(s) for s in starts if s < samples - 100])
        for start in onsets[-1]:
            trial[1, start : start + len(blink)] += blink * rng.uniform(0.7, 1.3)
        for start in rng.integers(0, samples - 150, 4):
            trial[0, start : start + rng.integers(40, 150)] += rng.choice([-90, 90])
        trial[0] = np.convolve(trial[0], np.ones(7) / 7, "same")
    return eog, onsets


def planted(background, referenced, seen=None):
    """Blinks, saccades and occipital alpha in a ``background`` (trial, channel, sample).

    ``seen`` (trial, 2, sample) is what the EOG measured of the background's own eyes.
    """
    rng = np.random.default_rng(2)
    trials, _, samples = background.shape
    eog, onsets = eyes(trials, samples)
    x, y, _ = positions().T
    forward = np.exp(3 * (y - y.max()))
    maps = np.stack([0.5 * x * forward, 0.6 * forward], axis=1)  # (channel, hEOG and vEOG)
    alpha = np.zeros_like(background)
    time = np.arange(samples) / SFREQ
    waxing = 10 * (1 + np.sin(2 * np.pi * 0.2 * time))
    alpha[:, BACK] = waxing * np.sin(2 * np.pi * 10 * time)
    eeg = background + maps @ eog + alpha
    seen = eog + (3 * pink(rng, eog.shape) if seen is None else seen)
    if referenced:
        eeg, seen = (band_pass(a, SFREQ, (4, 45)) for a in (eeg, seen))
        eeg = eeg - eeg.mean(axis=1, keepdims=True)
    else:
        drift = rng.standard_normal((trials, len(GENEVA), 1)) * np.linspace(-300, 300, samples)
        eeg = eeg + drift + 20 * np.sin(2 * np.pi * 50 * time)
        eeg -= eeg.mean(axis=-1, keepdims=True)
    return {
        "eeg": dict(enumerate(eeg, 1)),
        "eog": dict(enumerate(seen, 1)),
        "onsets": dict(enumerate(onsets, 1)),
        "alpha": dict(enumerate(alpha - alpha.mean(axis=1, keepdims=True), 1)),
    }


def blink_power(eeg, onsets):
    """Power of what is locked to blinks in Fp1 and Fp2, against the average reference."""
    epochs = []
    for e, trial in eeg.items():
        passed = high_pass(trial - trial.mean(axis=0), SFREQ, 1.0)[FRONT]
        epochs += [passed[:, s - 20 : s + 60] for s in onsets[e]]
    locked = np.mean(epochs, axis=0)
    return ((locked - locked.mean(axis=1, keepdims=True)) ** 2).mean()


def alpha_power(eeg, alpha):
    """Power of the planted waves in O1, Oz and O2, against the average reference."""
    projections = [
        ((trial - trial.mean(axis=0))[BACK] * alpha[e][BACK]).sum() for e, trial in eeg.items()
    ]
    return np.sum(projections) ** 2


@pytest.fixture(scope="module")
def real(recordings):
    """Real EEG (trial, channel, sample) in µV at 128 Hz, not referenced, and EOG beside it.

    The recording has no EOG; electrodes around the eyes stand in for it.
    """
    around = ["AF7", "AF8", "FPZ"]
    trials = []
    for run in ("S001R03", "S001R04"):
        path = recordings / "eegmmidb" / f"{run}.edf"
        raw = mne.io.read_raw_edf(path, preload=True, verbose="error")
        names = {name.strip(".").upper(): name for name in raw.ch_names}
        raw.pick([names[name.upper()] for name in GENEVA + around])
        raw.resample(SFREQ, method="polyphase", verbose="error")
        count = raw.n_times // SAMPLES
        microvolts = raw.get_data()[:, : count * SAMPLES] * 1e6
        trials.append(microvolts.reshape(len(microvolts), count, SAMPLES))
    whole = np.concatenate(trials, axis=1).transpose(1, 0, 2)
    eeg, (left, right, front) = whole[:, : len(GENEVA)], whole[:, len(GENEVA) :].swapaxes(0, 1)
    return eeg, np.stack([3 * (right - left), 2.2 * (front - eeg.mean(axis=1))], axis=1)


@pytest.fixture(scope="module")
def real_background(real):
    return real[0]


@pytest.fixture(scope="module", params=["preprocessed", "original"])
def referenced(request):
    return request.param == "preprocessed"


@pytest.fixture(scope="module")
def simulated(referenced):
    return planted(brain(24), referenced)


def falls_and_stays(recording, referenced, method):
    cleaned, report = cleaned_with(recording, referenced, artefacts=method)
    before, after = (blink_power(eeg, recording["onsets"]) for eeg in (recording["eeg"], cleaned))
    assert after <= 0.1 * before
    before, after = (alpha_power(eeg, recording["alpha"]) for eeg in (recording["eeg"], cleaned))
    assert 0.95 * before <= after <= 1.05 * before
    share = report["removed_variance"]
    assert min(share[name] for name in ("Fp1", "Fp2")) > max(share[name] for name in ("O1", "Pz"))


@pytest.mark.parametrize("method", METHODS)
def test_blinks_are_removed_and_alpha_stays(simulated, referenced, method):
    falls_and_stays(simulated, referenced, method)


@pytest.mark.parametrize("method", METHODS)
def test_blinks_are_removed_from_real_eeg_and_alpha_stays(real, referenced, method):
    background, seen = real
    falls_and_stays(planted(background, referenced, seen), referenced, method)


def test_original_recordings_are_cleaned_by_ica_and_preprocessed_ones_left(simulated):
    cleaned, report = cleaned_with(simulated, referenced=True)
    nothing = {"bad_channels": [], "average_reference": [], "artefacts": "none"}
    assert report == nothing | {"reference": "average"}
    assert all(cleaned[e] is simulated["eeg"][e] for e in simulated["eeg"])
    chosen, expected = cleaned_with(simulated, referenced=False, artefacts="ica")
    cleaned, report = cleaned_with(simulated, referenced=False)
    assert report == expected
    assert all((cleaned[e] == chosen[e]).all() for e in chosen)


@pytest.mark.parametrize(
    ("channels", "samples", "method"),
    [
        (32, 20 * 32**2, "ica"),
        (32, 20 * 32**2 - 1, "eog_regression"),
        (8, 1280, "ica"),
        (7, 50_000, "eog_regression"),
    ],
)
def test_few_channels_or_samples_are_cleaned_by_regression(channels, samples, method):
    eeg = {2: np.zeros((channels, 500)), 9: np.zeros((channels, samples - 500))}
    assert chosen_method(eeg, False, EEGOptions()) == method
    assert chosen_method(eeg, True, EEGOptions()) == "none"
    assert chosen_method(eeg, True, EEGOptions(artefacts="ica")) == "ica"


def test_regression_finds_how_much_of_the_eog_each_channel_holds():
    recording = planted(brain(24), referenced=False)
    report = cleaned_with(recording, referenced=False, artefacts="eog_regression")[1]
    coefficients = report["coefficients"]
    blink, saccade = (coefficients[name] for name in ("vEOG", "hEOG"))
    assert min(blink["Fp1"], blink["Fp2"]) > blink["Fz"] > blink["Cz"] > blink["Oz"]
    assert saccade["F8"] > 0.05
    assert saccade["F7"] < -0.05


def test_ica_tells_which_components_it_took_out():
    recording = planted(brain(24), referenced=False)
    report = cleaned_with(recording, referenced=False, artefacts="ica")[1]
    assert report["components"] == 31  # the average reference takes one dimension
    removed = report["removed"]
    names = {name for c in removed for name, r in c["r"].items() if r > 0.5}
    assert names == {"hEOG", "vEOG", "both"}
    assert all(c["r"]["both"] >= max(c["r"]["hEOG"], c["r"]["vEOG"]) for c in removed)
    blink = max(removed, key=lambda component: component["r"]["vEOG"])
    assert max(blink["map"], key=blink["map"].get) in ("Fp1", "Fp2")
    assert 0 < blink["variance"] < 1


def test_ica_sees_eyes_whose_eog_is_wired_the_other_way_round():
    recording = planted(brain(8), referenced=False)
    removed = cleaned_with(recording, referenced=False, artefacts="ica")[1]["removed"]
    recording["eog"] = {e: -trial for e, trial in recording["eog"].items()}
    assert removed
    assert cleaned_with(recording, referenced=False, artefacts="ica")[1]["removed"] == removed


def test_ica_fits_fewer_components_where_a_channel_is_interpolated():
    recording = planted(brain(24), referenced=False)
    for trial in recording["eeg"].values():
        trial[GENEVA.index("T7")] = 0
    assert cleaned_with(recording, referenced=False, artefacts="ica")[1]["components"] == 30


def test_ica_with_a_limit_that_nothing_reaches_is_regression():
    recording = planted(brain(4), referenced=True)
    cleaned, report = cleaned_with(recording, True, artefacts="ica", eog_correlation=0.9999)
    expected, regression = cleaned_with(recording, True, artefacts="eog_regression")
    assert report["removed"] == []
    assert report["coefficients"] == regression["coefficients"]
    for e, trial in expected.items():
        np.testing.assert_allclose(cleaned[e], trial, atol=1e-9)


def test_ica_finds_the_same_components_by_two_electrodes_as_by_their_difference():
    recording = planted(brain(16), referenced=False)
    first = cleaned_with(recording, referenced=False, artefacts="ica")[1]
    mixed = np.array([[0.7, 0.4], [-0.3, 1.1]])  # of the same two dimensions
    recording["eog"] = {e: mixed @ trial for e, trial in recording["eog"].items()}
    second = cleaned_with(recording, referenced=False, artefacts="ica")[1]
    assert [c["index"] for c in first["removed"]] == [c["index"] for c in second["removed"]]
    for a, b in zip(first["removed"], second["removed"], strict=True):
        assert a["r"]["both"] == pytest.approx(b["r"]["both"], abs=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_the_same_comes_out_whatever_the_number_of_threads(method):
    recording = planted(brain(24), referenced=False)
    recording["eeg"][1][5] = 0
    results = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            results.append(cleaned_with(recording, referenced=False, artefacts=method))
    (single, first), (double, second) = results
    assert first == second
    assert all((single[e] == double[e]).all() for e in single)


def test_ica_that_does_not_converge_is_told_and_recorded(monkeypatch, caplog):
    monkeypatch.setattr(artefacts, "_ITERATIONS", 1)
    with caplog.at_level(logging.WARNING):
        cleaned, report = cleaned_with(planted(brain(2), True), True, artefacts="ica")
    assert report["converged"] is False
    assert "did not converge" in caplog.text
    assert all(np.isfinite(trial).all() for trial in cleaned.values())


@pytest.mark.parametrize("referenced", [True, False])
def test_good_data_has_no_bad_channels_blinks_or_not(real_background, referenced):
    for background in (real_background, brain(24)):
        assert find_bad_channels(dict(enumerate(background)), GENEVA) == {}
        assert find_bad_channels(planted(background, referenced)["eeg"], GENEVA) == {}


def test_a_preprocessed_recording_without_bad_channels_is_not_touched(real_background):
    recording = planted(real_background, referenced=True)
    before = {e: trial.copy() for e, trial in recording["eeg"].items()}
    cleaned, _ = cleaned_with(recording, referenced=True)
    assert all(cleaned[e] is recording["eeg"][e] for e in before)
    assert all((cleaned[e] == before[e]).all() for e in before)


@pytest.mark.parametrize("referenced", [True, False])
@pytest.mark.parametrize(
    ("kind", "why"), [("zero", "flat"), ("constant", "flat"), ("noise", "extreme")]
)
def test_a_bad_channel_is_made_from_its_neighbours(real_background, referenced, kind, why):
    eeg = real_background - real_background.mean(axis=-1, keepdims=True)
    truth = eeg - eeg.mean(axis=1, keepdims=True)
    broken = (truth if referenced else eeg).copy()
    at = GENEVA.index("FC1")
    noise = np.random.default_rng(0).standard_normal(broken[:, at].shape)
    if kind == "noise":
        broken[:, at] += 50 * broken[:, at].std() * noise
        if referenced:  # whoever took the reference did not know
            broken -= broken.mean(axis=1, keepdims=True)
    else:
        broken[:, at] = 0 if kind == "zero" else 4000
    recording = {"eeg": dict(enumerate(broken, 1)), "eog": None}
    cleaned, report = cleaned_with(recording, referenced, artefacts="none")
    assert report["bad_channels"] == [
        {
            "channel": "FC1",
            "why": why,
            "trials": list(recording["eeg"]),
            "done": "interpolated",
        }
    ]
    others = [i for i in range(len(GENEVA)) if i != at]
    for e, trial in cleaned.items():
        assert np.corrcoef(trial[at], truth[e - 1, at])[0, 1] > 0.75
        np.testing.assert_allclose(trial.mean(axis=0), 0, atol=1e-9)
        error = trial[others] - truth[e - 1, others]
        assert error.std() < 0.1 * truth[e - 1, others].std()


def test_mains_that_all_channels_share_hide_no_bad_channel():
    eeg = brain(2)
    eeg[:, 5] *= 50
    eeg += 2000 * np.sin(2 * np.pi * 50 * np.arange(SAMPLES) / SFREQ)
    expected = {GENEVA[5]: "extreme"}
    assert find_bad_channels(dict(enumerate(eeg)), GENEVA) == {0: expected, 1: expected}


def test_a_channel_that_is_bad_in_one_trial_is_made_anew_there_and_nowhere_else():
    eeg = brain(4)
    eeg -= eeg.mean(axis=1, keepdims=True)
    eeg[2, 5] = 0
    recording = {"eeg": dict(enumerate(eeg, 1)), "eog": None}
    cleaned, report = cleaned_with(recording, referenced=True)
    assert [(bad["channel"], bad["trials"]) for bad in report["bad_channels"]] == [(GENEVA[5], [3])]
    assert report["average_reference"] == [3]
    assert [cleaned[e] is recording["eeg"][e] for e in cleaned] == [True, True, False, True]
    assert cleaned[3][5].std() > 1


def test_bad_channels_can_be_kept_and_are_recorded():
    eeg = brain(2)
    eeg[:, 5] = 0
    recording = {"eeg": dict(enumerate(eeg, 1)), "eog": None}
    cleaned, report = cleaned_with(recording, referenced=True, bad_channels="keep")
    assert [bad["done"] for bad in report["bad_channels"]] == ["kept"]
    assert all(cleaned[e] is recording["eeg"][e] for e in cleaned)


def test_a_trial_with_too_many_bad_channels_is_left_out_and_recorded():
    eeg = brain(3)
    eeg[0, :8], eeg[1, :8] = 0, 0
    eeg[1, 8] *= 50
    recording = {"eeg": dict(enumerate(eeg, 1)), "eog": None}
    cleaned, report = cleaned_with(recording, referenced=True)
    assert list(cleaned) == [1, 3]
    assert [(row["channel"], row["why"], row["trials"], row["done"])
            for row in report["bad_channels"] if row["channel"] in ("Fp1", "CP5")] == [
        ("Fp1", "flat", [1], "interpolated"),
        ("Fp1", "flat", [2], "rejected"),
        ("CP5", "extreme", [2], "rejected"),
    ]  # fmt: skip
    assert list(cleaned_with(recording, True, reject={"bad_channels": 0.1})[0]) == [3]
    assert list(cleaned_with(recording, True, bad_channels="keep")[0]) == [1, 2, 3]


def test_a_recording_that_is_flat_throughout_has_no_trial_left():
    recording = {"eeg": {7: np.ones((32, SAMPLES))}, "eog": None}
    assert cleaned_with(recording, referenced=True)[0] == {}


def test_the_reference_is_the_average_or_that_of_the_recording_or_of_named_channels():
    eeg = {1: brain(1)[0]}
    whole = {"eeg": eeg, "eog": None}
    averaged, report = cleaned_with(whole, False, artefacts="none")
    np.testing.assert_allclose(averaged[1], eeg[1] - eeg[1].mean(axis=0), atol=1e-9)
    assert (report["reference"], report["average_reference"]) == ("average", [1])
    recorded, report = cleaned_with(whole, False, artefacts="none", reference="as_recorded")
    assert recorded[1] is eeg[1]
    assert (report["reference"], report["average_reference"]) == ("as_recorded", [])
    pair = [GENEVA.index("P7"), GENEVA.index("P8")]
    for referenced in (False, True):
        named, report = cleaned_with(whole, referenced, artefacts="none", reference=["P7", "P8"])
        np.testing.assert_allclose(named[1], eeg[1] - eeg[1][pair].mean(axis=0), atol=1e-9)
        assert report["reference"] == ["P7", "P8"]


def test_a_reference_of_channels_that_are_not_there_is_refused(refused):
    with refused("eeg.reference", "no channel TP9", "name channels of the recording"):
        cleaned_with({"eeg": {1: brain(1)[0]}, "eog": None}, False, reference=["TP9", "P8"])


@pytest.mark.parametrize(("count", "reference"), [(7, "as_recorded"), (8, "average")])
def test_fewer_than_eight_channels_have_no_average(count, reference, caplog):
    eeg = {1: brain(1)[0, :count]}
    with caplog.at_level(logging.INFO):
        cleaned, report = clean(
            eeg, None, GENEVA[:count], SFREQ, False, EEGOptions(artefacts="none")
        )
    assert report["reference"] == reference
    assert (cleaned[1] is eeg[1]) == (count == 7)
    assert ("7 channels keep the reference" in caplog.text) == (count == 7)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("eog", "problem"),
    [
        (None, "does not have"),
        ({1: np.zeros((2, SAMPLES))}, "flat"),
        ({1: np.full((2, SAMPLES), np.nan)}, "not finite"),
    ],
)
def test_a_method_without_eog_is_refused(method, eog, problem, refused):
    with refused("eeg.artefacts", method, "hEOG and vEOG", problem, "none"):
        cleaned_with({"eeg": {1: brain(1)[0]}, "eog": eog}, referenced=False, artefacts=method)


@pytest.mark.parametrize("method", METHODS)
def test_eeg_and_eog_go_together_by_trial(method):
    recording = planted(brain(4), referenced=False)
    expected, _ = cleaned_with(recording, referenced=False, artefacts=method)
    recording["eog"] = dict(reversed(recording["eog"].items()))
    cleaned, _ = cleaned_with(recording, referenced=False, artefacts=method)
    assert all((cleaned[e] == expected[e]).all() for e in expected)


@pytest.mark.parametrize("method", METHODS)
def test_one_eog_channel_is_enough(method):
    recording = planted(brain(12), referenced=False)
    for trial in recording["eog"].values():
        trial[0] = 0
    cleaned, report = cleaned_with(recording, referenced=False, artefacts=method)
    json.dumps(report, allow_nan=False)
    onsets = recording["onsets"]
    assert blink_power(cleaned, onsets) <= 0.1 * blink_power(recording["eeg"], onsets)


@pytest.mark.parametrize("method", ["none", *METHODS])
@pytest.mark.parametrize("trials", [1, 3])
def test_a_report_is_valid_json_for_any_number_of_trials_of_any_length(method, trials):
    recording = planted(brain(trials), referenced=False)
    recording["eeg"][1][5] = 0
    for key in ("eeg", "eog"):
        recording[key] = {e: trial[:, : -100 * e] for e, trial in recording[key].items()}
    cleaned, report = cleaned_with(recording, referenced=False, artefacts=method)
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert list(cleaned) == list(recording["eeg"])
    for e, trial in cleaned.items():
        assert trial.shape == recording["eeg"][e].shape
        assert np.isfinite(trial).all()


def test_cleaning_and_filtering_can_change_places():
    recording = planted(brain(8), referenced=False)
    cleaned, _ = cleaned_with(recording, referenced=False)
    filtered = {
        key: {e: high_pass(trial, SFREQ, 1.0) for e, trial in recording[key].items()}
        for key in ("eeg", "eog")
    }
    there, _ = cleaned_with(filtered, referenced=False)
    for e, trial in cleaned.items():
        assert (high_pass(trial, SFREQ, 1.0) - there[e]).std() < 0.05 * there[e].std()
