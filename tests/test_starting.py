"""What a stage must not load: the libraries that take longer to load than it computes."""

import json
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

LIBRARIES = [
    *("torch", "torch._dynamo", "sympy", "transformers", "lightning_fabric"),
    *("huggingface_hub", "sklearn", "scipy", "matplotlib", "mne", "skimage", "snakemake", "PIL"),
]
MODEL = {"torch"}
STAGES = {
    "milmer.training.loop": MODEL,
    "milmer.evaluation.explain": MODEL,
    "milmer.prediction.predict": MODEL,
    "milmer.backbone.tokens": MODEL,  # which loads transformers once it has a backbone to read
    "milmer.evaluation.evaluate": set(),
    "milmer.evaluation.baselines": {"sklearn", "scipy"},
    "milmer.evaluation.tables": {"scipy"},
    "milmer.evaluation.report.page": set(),
    "milmer.splits.splits": set(),
    "milmer.deap.trials": set(),
    "milmer.manifest.trials": set(),
    "milmer.eeg.segments": set(),
    "milmer.faces.crops": set(),
    "milmer.cli.app": set(),
}
"""The modules of stages, and which of these libraries each may load when it is imported."""


def loaded(code: str) -> set[str]:
    """Which of the libraries a program has loaded at its end."""
    code += f"\nimport json, sys\nprint(json.dumps([n for n in {LIBRARIES} if n in sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("module", STAGES)
def test_a_stage_loads_no_library_that_it_does_not_need(module):
    assert loaded(f"import {module}") <= STAGES[module]


def test_training_explaining_and_testing_a_fold_load_no_more(twin_results, tmp_path):
    """From the split to the model's folder, its predictions and its explanation."""
    files = [
        str(twin_results / path)
        for path in (
            "trials/s01.parquet",
            "segments/default/s01.h5",
            "tokens/default/default/s01.h5",
        )
    ]
    code = f"""
from pathlib import Path
from milmer.evaluation.explain import explain_run
from milmer.evaluation.explain_options import ExplainOptions
from milmer.splits.options import SplitOptions
from milmer.splits.splits import make_split
from milmer.training.loop import train_fold
from milmer.training.options import TrainOptions
trials, segments, tokens = map(Path, {files})
split, run = Path({str(tmp_path)!r}, "split.parquet"), Path({str(tmp_path)!r}, "run")
make_split([trials], "trial", "s01-k0", SplitOptions(folds=2), split)
small = {{"hidden_size": 16, "num_heads": 2, "feed_forward": 16, "num_queries": 4}}
training = {{"epochs": 1, "threads": 1}}
train_fold(split, [segments], [tokens], TrainOptions(model=small, training=training), 0, run)
explain_run(run, split, [segments], [tokens], ExplainOptions(), run.with_name("explained.h5"))
"""
    assert loaded(code) == MODEL | {"torch._dynamo", "sympy"}  # by torch.optim's first step
