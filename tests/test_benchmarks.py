"""The scripts behind the README's figures run; what they measure is not judged here."""

import json
import subprocess
import sys

import numpy as np
import pytest

from milmer import storage
from tests.conftest import REPOSITORY

SCRIPTS = {
    "segments.py": ["--no-ica"],
    "originals.py": [],
    "faces.py": [],
    "tokens.py": [],
    "train.py": [],
    "finetune.py": [],
    "selection.py": [],
    "eeg.py": [],
    "alignment.py": [],
    "predict.py": [],
    "orchestration.py": [],
    "tables.py": [],
}
RUN_ALL = """
import contextlib, io, json, logging, os, runpy, sys, traceback

sys.path.insert(0, os.getcwd())
for script, options in json.loads(sys.argv[1]).items():
    sys.argv = [script, "--quick", *options]
    printed, error = io.StringIO(), None
    with contextlib.redirect_stdout(printed):
        try:
            runpy.run_path(script, run_name="__main__")
        except BaseException:
            error = traceback.format_exc()
    logging.disable(logging.NOTSET)
    print(json.dumps([script, printed.getvalue(), error]), flush=True)
"""


@pytest.fixture(scope="module")
def printed() -> dict[str, tuple[str, str | None]]:
    """What each script prints and the error it ends in, all in one process: torch is read once."""
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL, json.dumps(SCRIPTS)],
        cwd=REPOSITORY / "benchmarks",
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {script: (text, error) for script, text, error in lines}


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_benchmark_prints_its_table(printed, script):
    text, error = printed[script]
    assert error is None, error
    assert "| --- |" in text
    assert "cores" in text.splitlines()[-1]


@pytest.mark.slow
def test_the_model_stands_beside_the_best_simple_baseline(tmp_path, monkeypatch):
    """Of EEG, faces and both, on the same folds; what was trained is not trained again."""
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    import baselines

    monkeypatch.setattr(baselines, "_prepare_real", lambda *_: None)
    baselines.prepare(tmp_path, [7], folds=2, trials=8)
    rows = baselines.measure(tmp_path, "quick", folds=2)
    assert [row[:2] for row in rows] == [["twin", "EEG"], ["twin", "faces"], ["twin", "both"]]
    monkeypatch.setattr(baselines, "train_fold", None)
    assert baselines.measure(tmp_path, "quick", folds=2) == rows
    data = baselines.read_fold(
        tmp_path / "twin-7/splits/k0.parquet",
        [tmp_path / "twin-7/segments/s01.h5"],
        [tmp_path / "twin-7/tokens/s01.h5"],
    )
    both = {"shrinkage LDA", "logistic regression"}
    for modalities, methods in (
        (["eeg"], both),
        (["face"], {"shrinkage LDA"}),
        (["eeg", "face"], both),
    ):
        assert baselines.baselines(data, modalities).keys() == methods


def test_planted_frames_differ_from_the_others_of_their_bag(
    twin_results, twin_truth, twin, monkeypatch
):
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    from planted import shows_class

    fps = json.loads((twin / "truth.json").read_text())["options"]["fps"]
    shows = shows_class(twin_results / "faces/default/s01.h5", twin_truth["s01"], fps)
    with storage.open_h5(twin_results / "tokens/default/default/s01.h5") as file:
        frames = file["tokens"][()].astype(np.float32).mean(1)  # (frame, dim)
        bag, valid = file["bag"][()], file["valid"][()]
    apart: dict[bool, list[float]] = {True: [], False: []}  # how far from the neutral others
    for instances in (row[ok] for row, ok in zip(bag, valid, strict=True)):
        for i in instances:
            others = [j for j in instances if j != i and not shows[j]]
            apart[shows[i]].append(np.linalg.norm(frames[i] - frames[others].mean(0)))
    further = np.array(apart[True])[:, None] > np.array(apart[False])
    assert 0.2 < shows.mean() < 0.35
    assert further.mean() > 0.75  # 0.5 if the wrong frames were taken for planted
