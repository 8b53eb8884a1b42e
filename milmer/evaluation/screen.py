"""The tables of a run on one screen."""

from pathlib import Path

import pandas as pd

from milmer import storage
from milmer.contracts.facts import AGAIN
from milmer.errors import MilmerError
from milmer.limits import require_size
from milmer.plain_text import escaped

COLUMNS = 100
_NAMES, _NOTE, _LEAST = 24, 40, 12  # columns of a name and of a note; longer ones are wrapped
_BASELINE = 15  # columns of the best baseline where there are few
_TITLES = ["experiment", "protocol", "balanced accuracy", "best baseline", "chance", "note"]
_ABOUT = (
    "Balanced accuracy by segment: mean ± standard deviation over subjects, or its [interval] "
    "where there are six. Best baseline: of the simple methods that look at nothing else, the best "
    "on the validation parts, on the same segments."
)
_COLUMNS = {
    "summary": {
        **dict.fromkeys(("experiment", "protocol", "level", "metric"), "text"),
        **dict.fromkeys(("mean", "sd", "low", "high"), "number?"),
        "best_baseline": "number?",
        **dict.fromkeys(("baseline_name", "caveat", "note"), "text?"),
    },
    "folds": {"experiment": "text"},
    "confusion": {"experiment": "text", "label": "text", "count": "number"},
    "skipped": dict.fromkeys(("experiment", "protocol", "fold", "reason"), "text"),
}
"""The columns that are read of each table, with their kinds."""


def summary_screen(tables: Path, columns: int = COLUMNS) -> str:
    """One row an experiment and protocol, in at most ``columns`` columns, from ``tables``.

    Raises :class:`MilmerError` if there is no table.
    """
    import textwrap

    from tabulate import tabulate

    summary, folds, confusion = (_read(tables, n) for n in ("summary", "folds", "confusion"))
    summary = summary.query("level == 'segment' and metric == 'balanced_accuracy'")
    summary = summary[summary["experiment"].isin(folds["experiment"])]  # others are baselines
    occurring = confusion[confusion["count"] > 0].groupby("experiment")["label"].nunique()
    rows = []
    for row in summary.to_dict("records"):
        if row["experiment"] not in occurring:
            problem = f"tells no class of {row['experiment']}"
            raise MilmerError(problem, where=tables / "confusion.parquet", remedy=AGAIN)
        best = "–"
        if not pd.isna(row["best_baseline"]):
            best = f"{row['best_baseline']:.2f} {escaped(row['baseline_name'])}"
        spread = "" if pd.isna(row["sd"]) else f" ± {row['sd']:.2f}"
        if not pd.isna(row["low"]):
            spread = f" [{row['low']:.2f}, {row['high']:.2f}]"
        rows.append(
            [
                escaped(row["experiment"]),
                escaped(row["protocol"]),
                f"{row['mean']:.2f}{spread}",
                best,
                f"{1 / occurring[row['experiment']]:.2f}",
                "; ".join(escaped(row[name]) for name in ("caveat", "note") if row[name]),
            ]
        )
    widths = [_NAMES, None, None, None, None, _NOTE]
    cells = [_TITLES, ["-" * len(title) for title in _TITLES], *rows]
    lines = tabulate(cells, tablefmt="plain", disable_numparse=True, maxcolwidths=widths)
    while max(map(len, lines.splitlines())) > columns and widths[0] > _LEAST:
        widths[0], widths[-1] = max(_LEAST, widths[0] - 4), max(_LEAST, widths[-1] - 14)
        widths[3] = _BASELINE
        lines = tabulate(cells, tablefmt="plain", disable_numparse=True, maxcolwidths=widths)
    return "\n\n".join([lines, textwrap.fill(_ABOUT, columns), *skipped_lines(tables, columns)])


def skipped_lines(tables: Path, columns: int = COLUMNS) -> list[str]:
    """Which runs were skipped, and why: a paragraph an experiment, protocol and reason."""
    import textwrap

    groups = _read(tables, "skipped").groupby(["experiment", "protocol", "reason"], sort=False)
    lines = [
        f"Skipped: {experiment} under {protocol}, {', '.join(dict.fromkeys(rows['fold']))}: "
        f"{reason}."
        for (experiment, protocol, reason), rows in groups
    ]
    return [textwrap.fill(escaped(line), columns) for line in lines]


def whole_table(tables: Path) -> str:
    """The summary table of ``tables`` as Markdown. Raises :class:`MilmerError` if there is none."""
    path = tables / "summary.md"
    require_size(path)
    with storage.read_errors(path):
        text = path.read_text(encoding="utf-8", errors="replace")
    return "\n".join(map(escaped, text.splitlines()))


def _read(tables: Path, name: str) -> pd.DataFrame:
    path = tables / f"{name}.parquet"
    if not path.is_file():
        raise MilmerError("no such file", where=path, remedy="run snakemake first")
    return storage.read_table(path, "tables", _COLUMNS[name])
