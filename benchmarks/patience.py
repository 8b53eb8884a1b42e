"""How many epochs `training.patience` would leave out, and how often it would keep another epoch.

Reads the histories of finished runs that trained all epochs: with a patience, training is the same
up to the epoch at which it ends. Give folders of results; each history below them is a fold.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from timing import table

from milmer.metrics.epoch_score import BEFORE

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)  # of the epochs


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("results", type=Path, nargs="+", help="folders with history.parquet below")
    args = parser.parse_args()
    paths = [path for folder in args.results for path in sorted(folder.rglob("history.parquet"))]
    histories = [history for path in paths if "val_loss" in (history := pd.read_parquet(path))]
    rows = []
    for share in SHARES:
        ended = [_end(history, share) for history in histories]
        same, left_out = np.mean(ended, axis=0)
        rows.append([f"{100 * share:.0f} %", f"{100 * same:.1f}", f"{100 * left_out:.0f}"])
    epochs = sorted({int(history["epoch"].max()) + 1 for history in histories})
    print(f"{len(histories)} folds of {' or '.join(map(str, epochs))} epochs\n")
    print(table(["patience, of the epochs", "folds that keep their epoch %", "left out %"], rows))


def _end(history: pd.DataFrame, share: float) -> tuple[bool, float]:
    """Whether the same epoch is kept, and the share of epochs that are left out."""
    epochs = history["epoch"].to_numpy()
    count = epochs[-1] + 1
    patience = max(1, round(share * count))
    best, rank = BEFORE, None
    kept, end = None, count
    columns = zip(epochs, history["val_macro_f1"], history["val_loss"], strict=True)
    for epoch, macro_f1, loss in columns:
        this = (macro_f1, np.inf if epoch == BEFORE else -loss)
        if rank is None or this > rank:
            best, rank = epoch, this
        if kept is None and epoch - best >= patience:
            kept, end = best, epoch + 1
    return kept is None or kept == best, 1 - end / count


if __name__ == "__main__":
    main()
