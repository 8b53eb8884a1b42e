"""A manifest that describes a copy of DEAP gives what the reader of DEAP gives, bit for bit."""

import pandas as pd
import pytest

from milmer import storage
from tests import pipeline
from tests.manifest.described import BDF, describe_twin

SMALL = {"hidden_size": 32, "num_heads": 4, "feed_forward": 64, "num_queries": 8}


@pytest.fixture(scope="module")
def both(twin, twin_user, tmp_path_factory):
    """Folders of the same run through the copy and through a manifest of it."""
    folder = tmp_path_factory.mktemp("as_deap")
    user = twin_user | {
        "model": SMALL,
        "faces": {"detector": "haar", "instances": 4},
        "training": {"epochs": 2, "threads": 1},
        "protocols": {"names": ["trial"], "folds": 2},
    }
    deap, own = folder / "deap", folder / "own"
    manifest = describe_twin(twin, folder / "described")
    pipeline.run(None, deap, user | {"dataset": {"root": str(twin), "source": "bdf"}})
    described = {"kind": "manifest", "manifest": str(manifest), **BDF}
    pipeline.run(None, own, user | {"dataset": described})
    return deap / "results", own / "results"


@pytest.mark.parametrize(
    "name",
    [
        "segments/default/{}.h5",
        "faces/default/{}.h5",
        "tokens/default/default/{}.h5",
    ],
)
@pytest.mark.parametrize("subject", ["s01", "s02"])
def test_arrays_are_the_same_to_the_bit(both, name, subject):
    deap, own = (folder / name.format(subject) for folder in both)
    assert storage.digest(own) == storage.digest(deap)
    with storage.open_h5(own) as mine, storage.open_h5(deap) as theirs:
        for array in theirs:
            assert mine[array].dtype == theirs[array].dtype
        if name.startswith("segments"):
            assert (mine["eeg"][()] == theirs["eeg"][()]).all()
            assert mine.attrs["cleaned"] == theirs.attrs["cleaned"]
            assert '"artefacts": "eog_regression"' in mine.attrs["cleaned"]


@pytest.mark.parametrize("fold", ["s01-k0", "s01-k1", "s02-k0", "s02-k1"])
def test_predictions_and_weights_are_the_same_to_the_bit(both, fold):
    deap, own = (folder / "runs/milmer/trial" / fold / "seed0" for folder in both)
    tables = [storage.read_table(run / "predictions.parquet") for run in (deap, own)]
    pd.testing.assert_frame_equal(*tables, check_exact=True)
    weights = [(run / "model/model.safetensors").read_bytes() for run in (deap, own)]
    assert weights[0] == weights[1]
