"""The scripts behind the README's figures run; what they measure is not judged here."""

import json
import subprocess
import sys

import numpy as np
import pytest

from milmer import storage
from tests.conftest import REPOSITORY


@pytest.mark.parametrize(
    "arguments",
    [
        ["segments.py", "--no-ica"],
        ["originals.py"],
        ["faces.py"],
        ["tokens.py"],
        ["train.py"],
        ["finetune.py"],
        ["selection.py"],
        ["eeg.py"],
        ["predict.py"],
        ["orchestration.py"],
    ],
    ids=lambda a: a[0],
)
def test_a_benchmark_prints_its_table(arguments):
    script, *rest = arguments
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "benchmarks" / script), "--quick", *rest],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "| --- |" in done.stdout
    assert "cores" in done.stdout.splitlines()[-1]


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
