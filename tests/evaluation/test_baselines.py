"""Baselines: what they see, what they learn from, and what they find where there is nothing."""

import h5py
import numpy as np
import pytest
import scipy
from scipy import signal
from scipy.stats import binom
from sklearn.covariance import oas

from milmer import storage
from milmer.contracts.baseline import BASELINE
from milmer.deap.recordings import read_recording
from milmer.deap.trials import TrialsOptions, make_trials
from milmer.eeg.options import SegmentsOptions
from milmer.eeg.segments import make_segments
from milmer.errors import MilmerError
from milmer.evaluation.baseline_options import BASELINES, MODALITY, BaselinesOptions, Inputs
from milmer.evaluation.baselines import logistic_regression, make_baselines
from milmer.evaluation.features import BANDS, log_band_power, tangent_vectors
from milmer.splits.folds import fold_names
from milmer.splits.options import SplitOptions
from milmer.splits.splits import make_split
from milmer.synthetic.twin import TwinOptions, synthesize
from tests.evaluation import noise

OF_EEG = ("band_power", "band_power_lda", "tangent_space_lda")


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    """Trials and segments of a twin whose EEG has a class, and a mark of each trial."""
    folder = tmp_path_factory.mktemp("twin")
    twin = {"subjects": 1, "trials": 24, "seconds": 12, "no_video": [1]}
    synthesize(folder / "deap", TwinOptions(**twin, eeg_signal=1, fingerprint=1))
    trials, segments = folder / "trials/s01.parquet", folder / "segments/s01.h5"
    make_trials(folder / "deap", "s01", TrialsOptions(), trials)
    make_segments(trials, folder / "deap", SegmentsOptions(), segments, read_recording)
    return trials, segments


@pytest.fixture
def tested(subject, tmp_path):
    """``tested(protocol, names, segments, **options)``: predictions and facts by baseline."""

    def run(protocol, names=OF_EEG, segments=None, **options):
        folds = ["s01"] if protocol == "segment" else [f"s01-k{k}" for k in range(4)]
        for fold in folds:
            split = tmp_path / f"splits/default/{protocol}/{fold}.parquet"
            make_split([subject[0]], protocol, fold, SplitOptions(folds=4, **options), split)
        stage = BaselinesOptions(folds=folds, names=names, inputs=[("segments", "")])
        make_baselines(split.parent, [segments or subject[1]], [], stage, tmp_path)
        paths = {name: tmp_path / name / f"default/{protocol}.parquet" for name in names}
        return {
            name: (storage.read_table(path, BASELINE), storage.read_provenance(path)["facts"])
            for name, path in paths.items()
        }

    return run


def right(table):
    p = table[[c for c in table if c.startswith("p_")]].to_numpy()
    assert p.sum(1) == pytest.approx(1)
    return p.argmax(1) == table["label"]


def test_features_are_the_power_of_each_band_in_the_order_of_channels():
    time = np.arange(384) / 128
    eeg = np.random.default_rng(0).normal(0, 0.1, (2, 3, 384))
    eeg[0, 1] += 10 * np.sin(2 * np.pi * 10 * time)  # alpha in the second channel
    features = log_band_power(eeg, 128.0, BANDS).reshape(2, 3, 4)
    plain = features[1].mean()
    assert features[0, 1].argmax() == 1
    assert features[0, 1, 1] > plain + 5
    assert np.abs(features[0, [0, 2]] - plain).max() < 1
    frequency, density = signal.periodogram(eeg, 128.0, window="boxcar", detrend=False)
    low, high = BANDS[2]
    theirs = np.log(density[..., (frequency >= low) & (frequency < high)].mean(-1))
    apart = features[..., 2] - theirs
    assert apart == pytest.approx(apart[0, 0])  # but for a constant, that of the units


def test_a_band_without_a_frequency_is_left_out_and_none_at_all_is_an_error():
    eeg = np.random.default_rng(0).normal(size=(5, 2, 96))
    assert log_band_power(eeg, 32.0, BANDS).shape == (5, 2 * 3)
    with pytest.raises(MilmerError, match=r"segmentation\.seconds: .* at 128 Hz have no frequency"):
        log_band_power(eeg[..., :2], 128.0, BANDS)


def test_a_class_that_was_not_trained_has_no_probability():
    rng = np.random.default_rng(0)
    x, new = ({"a": rng.normal(size=(n, 3)), "b": rng.normal(size=(n, 1))} for n in (20, 3))
    p = logistic_regression(x, np.repeat([0, 2], 10), np.arange(20), new, 4)
    assert (p[:, [1, 3]] == 0).all()
    only = logistic_regression(x, np.full(20, 3), np.arange(20), new, 4)
    assert (only == np.eye(4)[[3, 3, 3]]).all()


def test_covariances_are_shrunk_so_that_an_average_reference_leaves_them_a_logarithm():
    """OAS as scikit-learn has it, and the logarithm by SciPy, of EEG that is filtered by it."""
    rng = np.random.default_rng(3)
    eeg = rng.normal(size=(5, 4, 96)) * np.array([1, 2, 3, 9])[:, None]
    eeg -= eeg.mean(axis=1, keepdims=True)
    eeg[3] = 0  # a segment without a signal
    bands = [(4, 8), (40, 41), (8, 13)]  # the second has no frequency
    vectors = tangent_vectors(eeg, 32.0, bands).reshape(5, 2, 10)
    assert (vectors[3] == 0).all()
    upper = np.triu_indices(4)
    weight = np.where(upper[0] == upper[1], 1, np.sqrt(2))
    for i, (low, high) in enumerate((bands[0], bands[2])):
        spectrum = scipy.fft.fft(eeg, axis=-1)
        frequency = np.abs(scipy.fft.fftfreq(96, 1 / 32))
        spectrum[..., (frequency < low) | (frequency >= high)] = 0
        filtered = scipy.fft.ifft(spectrum, axis=-1).real
        for segment in (0, 1, 2, 4):
            matrix = oas(filtered[segment].T)[0]
            assert np.linalg.eigvalsh(np.cov(filtered[segment])).min() < 1e-12
            expected = scipy.linalg.logm(matrix)[upper] * weight
            assert vectors[segment, i] == pytest.approx(expected, abs=1e-8)


def test_they_test_each_segment_of_the_test_parts_once(tested, subject):
    with storage.open_h5(subject[1]) as file:
        held = set(zip(file["trial"][()], file["position"][()], strict=True))
    for table, facts in tested("trial").values():
        found = list(zip(table["trial"], table["position"], strict=True))
        assert len(found) == len(held)
        assert set(found) == held
        assert right(table).mean() > 0.7
        assert [fold["fold"] for fold in facts["folds"]] == [f"s01-k{k}" for k in range(4)]
        for fold in facts["folds"]:
            assert sum(fold["shares"]) == pytest.approx(1)
            assert 0.6 < fold["validated"] <= 1


def test_they_learn_from_the_training_part_alone(tested, subject, tmp_path):
    trials, segments = subject
    split = tmp_path / "split.parquet"
    make_split([trials], "trial", "s01-k0", SplitOptions(folds=4), split)
    parts = storage.read_table(split).set_index(["trial", "position"])["part"]

    def changed(part):
        out = tmp_path / "segments/s01.h5"
        out.parent.mkdir(exist_ok=True)
        out.write_bytes(segments.read_bytes())
        with storage.open_h5(out) as file:
            key = list(zip(file["trial"][()], file["position"][()], strict=True))
        chosen = np.array([parts[k] == part for k in key])
        with h5py.File(out, "r+") as file:
            eeg = file["eeg"][()]
            eeg[chosen] *= np.linspace(1, 30, 32)[:, None]
            file["eeg"][...] = eeg
            file.attrs["digest"] = storage.content_digest(file)
        return {
            name: (table.query("fold == 's01-k0'").filter(like="p_").to_numpy(), facts["folds"][0])
            for name, (table, facts) in tested("trial", segments=out).items()
        }

    plain, val, train = (changed(part) for part in ("nothing", "val", "train"))
    for name, (probability, about) in plain.items():
        np.testing.assert_array_equal(val[name][0], probability)
        assert val[name][1]["validated"] != about["validated"]
        assert np.abs(train[name][0] - probability).max() > 0.1


def test_without_a_validation_part_they_are_validated_on_left_out_groups(tested):
    """Of labels that were permuted nothing is found there either: whole trials are left out."""
    for table, facts in tested("trial", validation=0).values():
        assert right(table).mean() > 0.7
        assert all(fold["validated"] > 0.6 for fold in facts["folds"])
    permuted = tested("trial", validation=0, labels={"permuted": True})
    for _, facts in permuted.values():
        assert np.mean([fold["validated"] for fold in facts["folds"]]) < 0.45


def test_the_same_inputs_give_the_same_bytes(tested, tmp_path):
    tested("trial")
    first = {path: path.read_bytes() for path in tmp_path.rglob("default/trial.parquet")}
    tested("trial")
    assert len(first) == 3
    assert all(path.read_bytes() == content for path, content in first.items())


def test_a_split_that_leaks_is_refused(subject, tmp_path, refused):
    trials, segments = subject
    split = tmp_path / "splits/default/trial/s01-k0.parquet"
    make_split([trials], "trial", "s01-k0", SplitOptions(folds=4), split)
    table, made = storage.read_table(split), storage.read_provenance(split)
    table.loc[(table["part"] == "test").idxmax(), "part"] = "train"
    storage.write_table(split, table, made)
    stage = BaselinesOptions(folds=["s01-k0"], names=OF_EEG, inputs=[("segments", "")])
    with refused("leaks: s01, trial", nothing_in=tmp_path / "out"):
        make_baselines(split.parent, [segments], [], stage, tmp_path / "out")


def test_what_is_not_there_is_one_line(subject, tmp_path, refused):
    trials, segments = subject
    split = tmp_path / "splits/default/trial/s01-k0.parquet"
    make_split([trials], "trial", "s01-k0", SplitOptions(folds=4), split)

    def run(**options):
        stage = BaselinesOptions(folds=["s01-k0"], **options)
        make_baselines(split.parent, [segments], [], stage, tmp_path / "out")

    with refused("no baseline 'svm'; use one of band_power, "):
        run(names=["svm"], inputs=[("segments", "")])
    with refused("no file of raw was given; give the files of each variant"):
        run(names=OF_EEG, inputs=[("segments", ""), ("raw", "")])


def test_of_permuted_labels_nothing_is_found_where_nothing_leaks_and_much_where_trials_do(tested):
    """A class that is there is found; with exchanged ratings only what a leak shows is left."""
    control = {"labels": {"permuted": True}}
    honest, leaky = tested("trial", **control), tested("segment", **control)
    for name in OF_EEG:
        # Segments of a trial go together: what is counted is trials.
        share = right(honest[name][0]).mean()
        assert binom.sf(round(share * 24) - 1, 24, 0.25) > 0.05, (name, share)
        table, facts = leaky[name]
        named = right(table)
        assert binom.sf(named.sum() - 1, len(named), 0.25) < 1e-4, (name, named.mean())
        assert (facts["leaky"], facts["permuted"]) == (True, True)


def test_each_is_of_features_that_there_are_and_no_two_look_alike():
    assert {name for each in BASELINES.values() for name in each.features} == set(MODALITY)
    rows = [(each.features, each.classifier) for each in BASELINES.values()]
    assert len(set(rows)) == len({each.title for each in BASELINES.values()}) == len(BASELINES)


@pytest.mark.parametrize(
    ("inputs", "names"),
    [
        (Inputs("raw", ""), [*OF_EEG]),
        (Inputs("", "few/big"), ["mean_token_lda"]),
        (Inputs("raw", "few/big"), [*OF_EEG, "mean_token_lda", "stacked_lda"]),
        (Inputs(), []),
    ],
)
def test_an_experiment_is_compared_with_what_looks_at_nothing_else(inputs, names):
    own = {name: each.of(inputs) for name, each in BASELINES.items()}
    assert [name for name, of in own.items() if of is not None] == names
    if "band_power" in names:
        assert own["band_power"] == Inputs("raw", "")
    if len(names) == 5:
        assert (own["mean_token_lda"], own["stacked_lda"]) == (Inputs("", "few/big"), inputs)


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """Subjects whose class is partly in the EEG, partly in the faces, which s02 lacks."""
    folder = tmp_path_factory.mktemp("faces")
    what = {
        "label": noise.EMOTION["label"],
        "eeg": lambda subject, order, stimulus, label: 0.1 * label[:, None] * [1, -1, 1, 0, 0, 1],
        "face": lambda subject, order, stimulus, label: 0.9 * label[:, None] * np.arange(5) / 4,
    }
    study = noise.make_noise(folder, subjects=2, trials=24, **what)
    study.split("trial", 3)
    return study


def test_faces_and_both_are_tested_where_there_is_a_face(faces, tmp_path):
    splits, names = faces.folder / "splits/default/trial", ["band_power_lda", "mean_token_lda"]
    both = Inputs("segments", f"{faces.folder.name}/tokens")
    stage = BaselinesOptions(
        folds=fold_names("trial", faces.subjects, 3), names=[*names, "stacked_lda"],
        inputs=[both, Inputs("segments")],
    )  # fmt: skip
    tokens = faces.files("tokens")[:1]
    make_baselines(splits, faces.files("segments"), tokens, stage, tmp_path)
    reached, rows = {}, {}
    for name in stage.names:
        table = storage.read_table(tmp_path / name / "default/trial.parquet", BASELINE)
        facts = storage.read_provenance(tmp_path / name / "default/trial.parquet")["facts"]
        of_s02 = [fold for fold in facts["folds"] if fold["fold"].startswith("s02")]
        rows[name] = table.groupby("subject").size().to_dict()
        reached[name] = right(table[table["subject"] == "s01"]).mean()
        seen = name != "band_power_lda"
        assert {fold["skipped"] is None for fold in of_s02} == {not seen}
        assert {tuple(fold[n] for n in ("eeg", "tokens")) for fold in facts["folds"]} == {
            BASELINES[name].of(both)
        }
    assert rows == {
        "band_power_lda": {"s01": 48, "s02": 48},
        **{"mean_token_lda": {"s01": 48}, "stacked_lda": {"s01": 48}},
    }
    assert reached["stacked_lda"] > max(reached[name] for name in names) > 0.6
