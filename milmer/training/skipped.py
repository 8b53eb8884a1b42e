"""A fold that cannot be trained or tested, because all that one of its parts holds was left out.

Its run is written as skipped, with the reason, so that all others go on: tables, cards and the
report say so in place of numbers.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors.numpy import save_file

from milmer import folders, storage
from milmer.splits.rows import nothing_left
from milmer.training.fold_data import FoldData
from milmer.training.options import TrainOptions
from milmer.training.recipe import FILE
from milmer.training.results import EVALUATED, FILES, TABLES, require_free


def skip_reason(data: FoldData, options: TrainOptions) -> str | None:
    """Why the fold cannot be trained or tested with these options; None where it can."""
    rows = {part: len(data.rows(part)) for part in ("train", "val", "test")}
    if not options.validation:
        rows["train"] += rows.pop("val")
    elif options.training.select != "validation":
        del rows["val"]
    return nothing_left(rows, {"rejected": data.rejected, "without a valid face": data.dropped})


def write_skipped(
    data: FoldData,
    options: TrainOptions,
    seed: int,
    reason: str,
    provenance: Mapping[str, Any],
    out: Path,
) -> None:
    """Write the folder ``out`` of a run that was skipped: all its files, with nothing in them."""
    require_free(out, ())
    (out / "metrics.json").unlink(missing_ok=True)
    with folders.replacing_folder(out / "model", "train", EVALUATED) as folder:
        for name in ("config.json", FILE):
            storage.write_json(folder / name, {"skipped": reason})
        save_file({}, folder / "model.safetensors")
    folders.claim(out, "train", FILES)
    names = ("protocol", "fold", "leaky", "permuted", "scheme", "warnings")
    facts = {name: data.facts[name] for name in names} | {
        "skipped": reason,
        "seed": seed,
        "labels": data.labels,
        "select": options.training.select,
        "epoch": -1,
        "classes": [0] * len(data.labels),
        "segments": data.table["part"].value_counts().to_dict(),
        "subjects": data.table.groupby("part")["subject"].nunique().to_dict(),
        "without_valid_face": data.dropped,
        "rejected": data.rejected,
        "modalities": list(options.model.modalities),
        "num_instances": 0,
        "holds_backbone": False,
        "parameters": 0,
    }
    table = data.table.head(0).drop(columns="part")
    for name in (*(f"p_{label}" for label in data.labels), "chosen", "scores"):
        table[name] = pd.Series(dtype="float32")
    for name in TABLES:
        history = pd.DataFrame({"epoch": [], "train_loss": []})
        content = history if name == "history" else table
        about = {**provenance, "stage": name, "facts": facts}
        storage.write_table(out / f"{name}.parquet", content, about)
