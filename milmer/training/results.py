"""What a finished run leaves: the model with its recipe, its predictions and its history.

Scores and the model card are made from these files by the stage ``evaluate``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from milmer import folders, storage
from milmer.model.network import MilmerNetwork
from milmer.model.trained import save_trained
from milmer.training.recipe import FILE, shared_facts

TABLES = ("predictions", "validation", "history")
FILES = ("metrics.json", *(f"{name}.parquet" for name in TABLES))
"""What lies in a run's folder beside ``model/``; ``metrics.json`` is made by ``evaluate``."""

EVALUATED = ("README.md", "evaluation.json")
"""What ``evaluate`` adds to ``model/``."""


@dataclass(frozen=True)
class RunResults:
    """A run that has been trained.

    ``predictions`` are those of the test part and ``validation`` those of the validation part at
    the epoch that was kept, a row a segment; ``history`` has a row an epoch. ``facts`` are plain
    JSON values: what was trained and tested on, and how. ``computed`` says how the model computed,
    ``image_processor`` is that of a backbone which the model holds.
    """

    model: MilmerNetwork
    image_processor: Any
    predictions: pd.DataFrame
    validation: pd.DataFrame
    history: pd.DataFrame
    facts: Mapping[str, Any]
    computed: Mapping[str, Any]


def require_free(out: Path, inputs: Sequence[Path]) -> None:
    """Refuse a run's folder ``out`` with files that training did not write, or in an input."""
    folders.require_unused(out, "train", FILES, inputs)
    folders.require_replaceable(out / "model", "train", added=EVALUATED)


def write_run(
    run: RunResults, recipe: Mapping[str, Any], provenance: Mapping[str, Any], out: Path
) -> None:
    """Write the folder ``out`` of a run; ``recipe`` is what its inputs were made with.

    The metrics of a run that was there before are removed: they are of other predictions.
    """
    require_free(out, ())
    (out / "metrics.json").unlink(missing_ok=True)
    with folders.replacing_folder(out / "model", "train", EVALUATED) as folder:
        save_trained(run.model, folder)
        if run.image_processor is not None:
            run.image_processor.save_pretrained(folder)
        facts = shared_facts(run.facts, provenance)
        storage.write_json(
            folder / FILE,
            {**recipe, "labels": facts["labels"], "computed": run.computed, "run": facts},
        )
    folders.claim(out, "train", FILES)
    for name in TABLES:
        about = {**provenance, "stage": name, "facts": run.facts}
        storage.write_table(out / f"{name}.parquet", getattr(run, name), about)
