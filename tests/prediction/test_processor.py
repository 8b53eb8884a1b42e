"""The processor from Python, and EEG that is prepared in blocks."""

import numpy as np
import pytest
import torch

from milmer import storage
from milmer.data.segmentation import SegmentationOptions, segment_grid
from milmer.deap.layout import GENEVA
from milmer.eeg.options import SegmentsOptions
from milmer.errors import MilmerError
from milmer.faces.cropper import Cropper
from milmer.faces.options import FacesOptions
from milmer.model.huggingface import MilmerForEmotionClassification
from milmer.prediction.eeg import ArrayEEG, ContinuousEEG
from milmer.prediction.faces import BagReader
from milmer.prediction.options import PredictOptions
from milmer.prediction.predict import RecordingFiles, predict
from milmer.prediction.processor import MilmerProcessor
from milmer.prediction.recipe import EEGRecipe
from milmer.splits.options import SplitOptions
from milmer.splits.splits import make_split
from milmer.training.loop import train_fold
from milmer.training.options import TrainOptions
from tests.manifest.recordings import edf, waves
from tests.prediction.trained import MODEL, clip, film


def processor_of(run, **how):
    return MilmerProcessor.from_pretrained(run / "model", **how)


def test_inputs_are_those_of_the_training_data(run, twin, made, twin_backbone):
    """The EEG bit for bit; tokens but for how many frames go through the backbone at once."""
    processor = processor_of(run, backbone=str(twin_backbone))
    (eeg,) = twin.rglob("s01.dat")
    inputs = processor(eeg=eeg, video=clip(twin, made, 3), trial=3)
    with storage.open_h5(made[1][0]) as file:
        rows = file["experiment_id"][()] == 3
        assert np.array_equal(inputs["eeg"].numpy(), file["eeg"][()][rows])
    with storage.open_h5(made[2][0]) as file:
        bag, valid = file["bag"][()][rows], file["valid"][()][rows]
        tokens = file["tokens"][()].astype(np.float32)[bag]
    assert np.array_equal(inputs["valid"].numpy(), valid)
    np.testing.assert_allclose(
        inputs["face_tokens"].numpy()[valid], tokens[valid], atol=0.02, rtol=0.01
    )
    assert (inputs["face_tokens"].numpy()[~valid] == 0).all()


def test_the_model_takes_what_the_processor_gives(
    run, twin, made, twin_backbone, tmp_path, refused
):
    processor = processor_of(run, backbone=str(twin_backbone))
    processor.save_pretrained(tmp_path)
    again = MilmerProcessor.from_pretrained
    with refused("holds a processor and no model"):
        again(tmp_path)
    model = MilmerForEmotionClassification.from_pretrained(run / "model").eval()
    model.save_pretrained(tmp_path)
    again = again(tmp_path, backbone=str(twin_backbone))
    assert again.recipe == processor.recipe
    (eeg,) = twin.rglob("s01.dat")
    with torch.no_grad():
        first, second = (
            p.probabilities(model(**p(eeg=eeg, video=clip(twin, made, 2), trial=2)).logits)
            for p in (processor, again)
        )
    assert np.array_equal(first, second)
    assert first.sum(1) == pytest.approx(1)
    assert len(first) == 2


def test_a_number_of_instances_below_the_cached_one_is_taken_alike(
    made, twin, twin_backbone, tmp_path
):
    from tests.prediction.trained import train

    run = train(tmp_path, *made, {"num_instances": 4, "modalities": ["face"]})
    expected = storage.read_table(run / "predictions.parquet")
    options = PredictOptions(backbone=str(twin_backbone))
    predict(run, RecordingFiles(trials=made[0], root=twin), options, tmp_path / "out")
    found = storage.read_table(tmp_path / "out/predictions.parquet")
    both = expected.merge(found, on=["trial", "position"], suffixes=("_run", ""))
    assert both["chosen"].map(list).tolist() == both["chosen_run"].map(list).tolist()
    assert {len(s) for s in both["scores"]} == {4}
    np.testing.assert_allclose(both["raw_HAHV"], both["p_HAHV_run"], atol=2e-3)


def test_a_model_that_holds_its_backbone_needs_no_other(twin, made, twin_backbone, tmp_path):
    results = made[0].parents[1]
    split = tmp_path / "s01-k0.parquet"
    make_split([made[0]], "trial", "s01-k0", SplitOptions(folds=2), split)
    options = TrainOptions(
        model=MODEL | {"num_instances": 3, "modalities": ["face"]},
        training={"epochs": 1, "threads": 1, "batch_size": 4},
        finetune={"backbone": {"name": "a local directory"}},
    )
    crops = [results / "faces/default/s01.h5"]
    train_fold(split, [], crops, options, 0, tmp_path / "run", str(twin_backbone))
    predict(
        tmp_path / "run",
        RecordingFiles(trials=made[0], root=twin),
        PredictOptions(),
        tmp_path / "out",
    )
    expected = storage.read_table(tmp_path / "run/predictions.parquet")
    found = storage.read_table(tmp_path / "out/predictions.parquet")
    both = expected.merge(found, on=["trial", "position"], suffixes=("_run", ""))
    assert both["chosen"].map(list).tolist() == both["chosen_run"].map(list).tolist()
    np.testing.assert_allclose(both["raw_HAHV"], both["p_HAHV_run"], atol=2e-3)
    for path in (tmp_path / "run/model").glob("*.json"):  # where the backbone lay, and who it saw
        for word in ("_name_or_path", str(twin_backbone), "s01", "/tmp"):
            assert word not in path.read_text(), (path.name, word)


def test_arrays_are_files_in_memory(eeg_run, tmp_path):
    """Their channels in any order, at any rate that is not below the model's."""
    x = waves(32, 9.0, 256.0)
    path = edf(tmp_path / "e.edf", x, GENEVA, 256.0)
    processor = processor_of(eeg_run)
    order = np.random.default_rng(0).permutation(32)
    names = [GENEVA[i] for i in order]
    from_file = processor(eeg=str(path))["eeg"]
    from_array = processor(eeg=x[order], sfreq=256.0, channels=names)["eeg"]
    assert from_array.shape == (3, 32, 384)
    np.testing.assert_allclose(from_array, from_file, atol=0.01)  # 16 bit in the file


def test_arrays_that_do_not_fit_are_refused(eeg_run, refused):
    processor, x = processor_of(eeg_run), waves(32, 6.0, 128.0)
    with refused("give its sfreq and channels"):
        processor(eeg=x)
    with refused("no channel Fp1; the model requires the channels"):
        processor(eeg=x[1:], sfreq=128.0, channels=GENEVA[1:])
    with refused("32 channels are named and 31 given"):
        processor(eeg=x[1:], sfreq=128.0, channels=GENEVA)
    with refused("sampled at 100 Hz"):
        processor(eeg=x, sfreq=100.0, channels=GENEVA)
    x[3, 5] = np.nan
    with refused("not finite"):
        processor(eeg=x, sfreq=128.0, channels=GENEVA)


def remembered(trial_seconds, **eeg):
    return EEGRecipe(
        channels=GENEVA,
        sfreq=128.0,
        trial_seconds=trial_seconds,
        options=SegmentsOptions(eeg=eeg),
        source="bdf",
        artefacts="eog_regression",
    )


class Watched(ArrayEEG):
    """Remembers how long the parts were that it was asked for."""

    longest = 0.0

    def trial(self, start, seconds, sfreq):
        self.longest = max(self.longest, seconds)
        return super().trial(start, seconds, sfreq)


def test_a_long_recording_goes_in_blocks_that_agree_with_the_whole():
    """Eye artefacts too, which are fitted once: no step is seen where two blocks meet."""
    rng = np.random.default_rng(0)
    x, eyes = waves(32, 300.0, 128.0), 60 * rng.standard_normal((2, 300 * 128)).cumsum(1) / 50
    x = x + rng.normal(size=(32, 2)) @ eyes
    grid = segment_grid([(0, 300.0)], SegmentationOptions())
    pairs = [["hEOG"], ["vEOG"]]

    def segments(trial_seconds):
        signal = Watched(x, 128.0, eyes)
        # Which the recipe names; on such waves FastICA does not converge.
        recipe = remembered(trial_seconds, artefacts="eog_regression")
        eeg = ContinuousEEG("e", signal, recipe, pairs, 0.0, 300.0)
        return np.stack(list(eeg.segments(grid))), signal.longest

    (whole, length), (blocks, block) = segments(300.0), segments(30.0)
    assert length == 300
    assert block == 36  # 3 s on both sides
    deviation = np.sqrt(((whole - blocks) ** 2).mean((1, 2)) / (whole**2).mean((1, 2)))
    assert np.median(deviation) < 0.02
    assert deviation.max() < 0.15  # at the edges of blocks, where the filter reaches farther
    untouched = ContinuousEEG("e", ArrayEEG(x, 128.0), remembered(30.0), None, 0.0, 300.0)
    raw = np.stack(list(untouched.segments(grid)))
    assert np.sqrt(((whole - raw) ** 2).mean() / (whole**2).mean()) > 0.2  # there was something


def test_memory_does_not_grow_with_the_video(face_run, twin, made, twin_backbone, tmp_path):
    """Frames that no segment to come needs are let go."""
    video = film(tmp_path / "v.mp4", [clip(twin, made, 1)], 60)
    processor = processor_of(face_run, backbone=str(twin_backbone))
    held = []

    class Counted(BagReader):
        def _bag(self, own, rows):
            held.append(len(rows))
            return super()._bag(own, rows)

    from milmer.prediction import processor as module
    from milmer.prediction.processor import Source
    from milmer.prediction.stretches import Span

    original, module.BagReader = module.BagReader, Counted
    try:
        with processor.bags() as bags:
            piece = processor.stretch(Source(video=video), Span(), bags)
            made_of = list(processor.prepared(piece, bags))
    finally:
        module.BagReader = original
    assert len(made_of) == 20
    assert max(held) <= 32 + 10  # a batch of the backbone's, and a bag


def test_transformers_finds_the_processor(run, twin_backbone):
    from transformers import AutoProcessor

    from milmer.prediction.huggingface import MilmerProcessor as Registered

    assert Registered is MilmerProcessor
    processor = AutoProcessor.from_pretrained(run / "model", backbone=str(twin_backbone))
    assert type(processor) is MilmerProcessor
    assert processor.recipe == MilmerProcessor.from_pretrained(run / "model").recipe
    assert processor.modalities == ["eeg", "face"]


def test_faces_are_searched_and_chosen_as_asked(
    face_run, twin, made, twin_backbone, tmp_path, monkeypatch
):
    asked = []

    class Asked(Cropper):
        def crops(self, path, clip, wanted, place=None):
            asked.append((self._options.detection_size, self._options.second_detection_size, place))
            return super().crops(path, clip, wanted, place)

    monkeypatch.setattr("milmer.prediction.faces.Cropper", Asked)
    video = RecordingFiles(video=clip(twin, made, 1))
    options = PredictOptions(backbone=str(twin_backbone), face="right", second_detection_size=1280)
    with pytest.raises(MilmerError, match="no face was seen") as error:  # it is in the middle
        predict(face_run, video, options.updated({"face": "0 0 20 20"}), tmp_path / "out")
    assert "--second-detection-size" in str(error.value)
    trained = FacesOptions()
    predict(face_run, video, PredictOptions(backbone=str(twin_backbone)), tmp_path / "out")
    assert asked == [
        (trained.detection_size, 1280, "0 0 20 20"),
        (trained.detection_size, trained.second_detection_size, None),
    ]
