"""Everything that stages write has the mode that the umask gives, weights too."""

import os
import signal

import pytest

from milmer.backbone import pretraining
from milmer.backbone.options import TokensOptions
from milmer.backbone.tokens import make_tokens
from milmer.deap.recordings import read_recording
from milmer.deap.trials import TrialsOptions, make_trials
from milmer.eeg.options import SegmentsOptions
from milmer.eeg.segments import make_segments
from milmer.errors import Stopped
from milmer.faces.crops import make_faces
from milmer.faces.options import FaceStageOptions
from milmer.prediction.options import PredictOptions
from milmer.prediction.predict import RecordingFiles, predict
from milmer.synthetic.twin import write_backbone
from milmer.training import loop
from tests.backbone.test_pretraining import draw, pretrain_from, write_swin
from tests.prediction.trained import train

UMASK = 0o027


@pytest.fixture
def umask():
    before = os.umask(UMASK)
    yield
    os.umask(before)


def require_modes(folder, least):
    paths = sorted(folder.rglob("*"))
    assert len(paths) >= least
    for path in [folder, *paths]:
        expected = (0o777 if path.is_dir() else 0o666) & ~UMASK
        assert path.stat().st_mode & 0o777 == expected, path


def test_of_a_subject_a_run_and_predictions(twin, twin_user, tmp_path, umask, monkeypatch):
    results = tmp_path / "results"
    trials, segments, faces, tokens = (
        results / name / f"s01.{'parquet' if name == 'trials' else 'h5'}"
        for name in ("trials", "segments", "faces", "tokens")
    )
    haar = FaceStageOptions.model_validate({"faces": {"detector": "haar"}})
    make_trials(twin, "s01", TrialsOptions(), trials)
    make_segments(trials, twin, SegmentsOptions(), segments, read_recording)
    make_faces(trials, twin, haar, faces)
    write_backbone(results / "swin")
    make_tokens(faces, TokensOptions(), tokens, str(results / "swin"))

    def stopped(self, rows):
        plain(self, rows)
        signal.raise_signal(signal.SIGTERM)

    plain = loop.Training._train_on
    with monkeypatch.context() as patch:
        patch.setattr(loop.Training, "_train_on", stopped)
        with pytest.raises(Stopped):
            train(results, trials, [segments], [tokens])
    assert (results / ".seed0.resume.pt").exists()
    require_modes(results, 10)
    run = train(results, trials, [segments], [tokens])
    recording = RecordingFiles(trials=trials, root=twin)
    predict(run, recording, PredictOptions(backbone=str(results / "swin")), results / "out")
    require_modes(results, 25)


def test_of_a_pretrained_backbone_and_of_what_it_resumes_from(tmp_path, umask, monkeypatch):
    draw(tmp_path / "images", {"happy": 6, "sad": 6})
    write_swin(tmp_path / "swin")
    out, plain = tmp_path / "results/out", pretraining._Learner._train_on

    def step(self, *batch):
        if self.step == 2:
            signal.raise_signal(signal.SIGTERM)
        return plain(self, *batch)

    with monkeypatch.context() as patch:
        patch.setattr(pretraining._Learner, "_train_on", step)
        with pytest.raises(Stopped):
            pretrain_from(tmp_path / "swin", tmp_path / "images", out)
    require_modes(tmp_path / "results", 1)
    pretrain_from(tmp_path / "swin", tmp_path / "images", out)
    assert os.listdir(tmp_path / "results") == ["out"]
    require_modes(out, 5)
