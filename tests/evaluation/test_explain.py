"""What explains a model: the channels with the class, and where the queries attend."""

import json
import shutil

import h5py
import numpy as np
import pytest
import torch

from milmer import storage
from milmer.deap.layout import GENEVA
from milmer.deap.recordings import read_recording
from milmer.deap.trials import TrialsOptions, make_trials
from milmer.eeg.options import SegmentsOptions
from milmer.eeg.segments import make_segments
from milmer.evaluation.explain import explain_run
from milmer.evaluation.explain_options import ExplainOptions
from milmer.model.fusion import CrossAttention
from milmer.splits.options import SplitOptions
from milmer.splits.splits import make_split
from milmer.synthetic.twin import OCCIPITAL_FIRST, TwinOptions, synthesize
from milmer.training.loop import train_fold
from milmer.training.options import TrainOptions

SMALL = {"hidden_size": 32, "num_heads": 4, "feed_forward": 64, "num_queries": 8}


def train(folder, split, segments, faces, epochs=1, **model):
    training = {"epochs": epochs, "threads": 1, "lr": 3e-3, "select": "last"}
    options = TrainOptions(model=SMALL | model, training=training, validation=False)
    train_fold(split, segments, faces, options, 0, folder)


def explained(run, split, segments, faces, out, count=64):
    explain_run(run, split, segments, faces, ExplainOptions(threads=1, segments=count), out)
    with storage.open_h5(out, "explain") as file:
        channel = file["channel"][()].mean(0)
        return channel, file["attention"][()], json.loads(file.attrs["channels"])


@pytest.fixture(scope="module")
def occipital(tmp_path_factory):
    """A subject whose class is in six occipital channels alone, and a model that learned it."""
    folder = tmp_path_factory.mktemp("occipital")
    size = {"subjects": 1, "trials": 16, "seconds": 12, "no_video": [1]}
    synthesize(folder / "deap", TwinOptions(signal_channels=6, eeg_signal=1, **size))
    trials, segments, split = (folder / name for name in ("t.parquet", "s01.h5", "k0.parquet"))
    make_trials(folder / "deap", "s01", TrialsOptions(), trials)
    make_segments(trials, folder / "deap", SegmentsOptions(), segments, read_recording)
    make_split([trials], "trial", "s01-k0", SplitOptions(folds=4, validation=0), split)
    train(folder / "run", split, [segments], [], epochs=25, modalities=["eeg"])
    return folder / "run", split, [segments], []


def test_the_channels_that_show_the_class_matter_most(occipital, tmp_path):
    channel, attention, names = explained(*occipital, tmp_path / "a.h5")
    assert names == GENEVA
    ranked = [names[i] for i in np.argsort(-channel)]
    assert len(set(ranked[:6]) & set(OCCIPITAL_FIRST[:6])) >= 5
    others = [channel[names.index(name)] for name in ranked[8:]]
    assert channel.max() > 5 * np.abs(others).mean()
    assert attention.size == 0  # the model looks at no face


def test_the_same_comes_out_again_and_from_fewer_segments_something_alike(occipital, tmp_path):
    first, *_ = explained(*occipital, tmp_path / "a.h5")
    explained(*occipital, tmp_path / "b.h5")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    fewer, *_ = explained(*occipital, tmp_path / "c.h5", 8)
    assert not np.array_equal(first, fewer)
    assert np.corrcoef(first, fewer)[0, 1] > 0.5


def test_shares_of_attention_are_those_of_what_is_attended_to():
    torch.manual_seed(0)
    attend = CrossAttention(8, 1, 5, 0.0).eval()
    tokens, present = torch.randn(2, 3, 4, 8), torch.tensor([[1, 1, 0], [1, 0, 0]]).bool()
    shares = attend.shares(tokens, present)  # (batch, query, instance, token)
    assert shares.shape == (2, 5, 3, 4)
    torch.testing.assert_close(shares.sum((2, 3)), torch.ones(2, 5))
    assert (shares[0, :, 2] == 0).all()
    assert (shares[1, :, 1:] == 0).all()
    values = attend.value(tokens.flatten(1, 2))
    expected = attend.out(shares.flatten(2) @ values)
    torch.testing.assert_close(attend(tokens, present), expected)


@pytest.fixture(scope="module")
def files(twin_results, tmp_path_factory):
    split = tmp_path_factory.mktemp("fold") / "s01-k0.parquet"
    options = SplitOptions(folds=2, validation=0)
    make_split([twin_results / "trials/s01.parquet"], "trial", "s01-k0", options, split)
    parts = ("segments/default", "tokens/default/default")
    return (split, *([twin_results / part / "s01.h5"] for part in parts))


def test_attention_is_a_map_of_the_face_that_sums_to_one(files, tmp_path):
    train(tmp_path / "run", *files)
    channel, attention, _ = explained(tmp_path / "run", *files, tmp_path / "a.h5")
    assert channel.shape == (32,)
    assert attention.shape == (7, 7)
    assert attention.sum() == pytest.approx(1, abs=1e-5)
    assert attention.min() > 0


@pytest.mark.parametrize(
    "model", [{"fusion": "mlp"}, {"selection": "amil"}, {"fusion": "none"}], ids=str
)
def test_models_without_such_attention_have_no_map(files, tmp_path, model):
    train(tmp_path / "run", *files, **model)
    _, attention, _ = explained(tmp_path / "run", *files, tmp_path / "a.h5")
    assert attention.size == 0


def test_faces_alone_have_no_channels(files, tmp_path):
    split, _, tokens = files
    train(tmp_path / "run", split, [], tokens, modalities=["face"])
    channel, attention, names = explained(tmp_path / "run", split, [], tokens, tmp_path / "a.h5")
    assert (channel.size, names) == (0, [])
    assert attention.shape == (7, 7)


def test_a_folder_that_is_no_run_is_one_line(files, tmp_path, refused):
    with refused("predictions.parquet: no such file", nothing_in=tmp_path):
        explain_run(tmp_path, *files, ExplainOptions(), tmp_path / "a.h5")


def changed(path, folder, dataset):
    """A copy of a file of the pipeline whose ``dataset`` holds another value, by its digest too."""
    copy = folder / path.name
    shutil.copy(path, copy)
    with h5py.File(copy, "r+") as file:
        file[dataset][0, 0] += 1
        file.attrs["digest"] = storage.content_digest(file)
    return copy


@pytest.mark.parametrize("kind", ["split", "segments", "tokens"])
def test_other_files_than_the_runs_are_refused(files, refused, tmp_path, kind):
    train(tmp_path / "run", *files)
    split, segments, tokens = files
    if kind == "split":
        split = tmp_path / "other.parquet"
        trials = segments[0].parents[2] / "trials/s01.parquet"
        make_split([trials], "trial", "s01-k1", SplitOptions(folds=2, validation=0), split)
    elif kind == "segments":
        segments = [changed(segments[0], tmp_path, "eeg")]
    else:
        tokens = [changed(tokens[0], tmp_path, "tokens")]
    with refused(f"not what {tmp_path / 'run'} was trained with; give the files of its training"):
        explain_run(tmp_path / "run", split, segments, tokens, ExplainOptions(), tmp_path / "a.h5")
    assert not (tmp_path / "a.h5").exists()


def test_a_subject_that_the_run_was_not_trained_with_is_refused(files, refused, tmp_path):
    split, segments, tokens = files
    train(tmp_path / "run", split, [], tokens, modalities=["face"])
    with refused(f"{segments[0]}: not what {tmp_path / 'run'} was trained with"):
        explain_run(tmp_path / "run", split, segments, tokens, ExplainOptions(), tmp_path / "a.h5")
