"""The page's tables: which rows and columns are shown, and how a cell sorts."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from milmer.evaluation.baseline_options import BASELINES
from milmer.evaluation.formats import readable
from milmer.evaluation.options import SHOWN
from milmer.evaluation.report.sources import Results, caveats
from milmer.evaluation.runs import KEY
from milmer.splits.protocols import PROTOCOLS

_MOST_ROWS = 600  # of a table on the page; more are in its file


@dataclass(frozen=True)
class Cell:
    """A cell's text, and the number that it sorts by if it is one."""

    text: str
    number: float | None = None


@dataclass(frozen=True)
class Listing:
    """A table that is sorted by its headings; ``numeric`` says which columns hold numbers."""

    caption: str
    columns: Sequence[str]
    numeric: Sequence[bool]
    rows: Sequence[Sequence[Cell]]
    more: str = ""


def listing(caption: str, table: pd.DataFrame, file: str = "") -> Listing:
    """A table as it is, of at most 600 rows; ``file`` is where the others are."""
    rows = [[_cell(v) for v in row] for row in table.head(_MOST_ROWS).itertuples(index=False)]
    numeric = [
        all(r[i].number is not None or r[i].text == "–" for r in rows) for i in _places(table)
    ]
    left = len(table) - _MOST_ROWS
    more = f"{left} more rows are in {file}." if left > 0 else ""
    return Listing(caption, _heads(table), numeric, rows, more)


def experiments(results: Results) -> Listing:
    """How experiments differ from the configuration."""
    rows = [
        {
            "experiment": name,
            "protocols": ", ".join(shown.folds),
            "EEG": shown.eeg or "–",
            "faces": shown.faces or "–",
            "differs by": _changes(shown.changes),
        }
        for name, shown in results.options.experiments.items()
    ]
    return listing("Experiments, and how each differs from the configuration", pd.DataFrame(rows))


def summary(results: Results) -> Listing:
    """The summary: a row an experiment, protocol and level."""
    table, made = results.tables["summary"], []
    shown = readable("summary", table)
    facts = table.groupby(KEY, sort=False)[["leaky", "select", "permuted"]].first()
    protocols = [
        ", ".join(
            [protocol, *caveats(leaky=leaky, on_test=select == "best_on_test", permuted=permuted)]
        )
        for (_, protocol, _), leaky, select, permuted in facts.itertuples()
    ]
    # Accuracy in front, so that it stands beside what it is of where the page is narrow.
    baselines = [name.replace("_", " ") for name in BASELINES]
    last = ["subjects", "majority", "chance", *baselines, "ECE"]
    first = [name for name in shown if name not in ("note", *last)]
    shown = shown[first + [name for name in shown if name in last]]
    means = table.pivot_table(
        index=["experiment", "protocol", "level"],
        columns="metric",
        values="mean",
        sort=False,
        dropna=False,
    )
    for protocol, (_, row) in zip(protocols, shown.iterrows(), strict=True):
        mean = means.loc[(row["experiment"], row["protocol"], row["level"])]
        cells = []
        for name, value in row.items():
            metric = str(name).replace(" ", "_")
            known = metric in mean.index and not pd.isna(mean[metric])
            number = float(mean[metric]) if known else _number(value)
            cells.append(Cell(protocol if name == "protocol" else _text(value), number))
        made.append(cells)
    numeric = [
        all(cells[i].number is not None or cells[i].text == "–" for cells in made)
        for i in _places(shown)
    ]
    caption = "Mean ± standard deviation over subjects, and the [interval] from six subjects on"
    for protocol in dict.fromkeys(table["protocol"]):
        if PROTOCOLS[protocol].leaves_subject_out:
            caption += f"; folds of {protocol} share their training data, so that theirs are "
            caption += "approximate"
    return Listing(caption, _heads(shown), numeric, made)


def tests(results: Results) -> Listing:
    """Paired tests of each experiment against the first."""
    columns = ["experiment", "against", "protocol", "level", "metric", "subjects"]
    table = results.tables["tests"][[*columns, "difference", "p", "p_holm", "note"]]
    return listing("Paired sign-flip tests over subjects, Holm-corrected", table, "tests.csv")


def ablation(results: Results) -> Listing:
    """Each experiment beside the first, over the subjects that both have."""
    table = results.tables["ablation"].drop(columns="changes")
    return listing("Means, and differences over common subjects", table, "ablation.csv")


def folds(results: Results) -> Listing:
    """Each fold, by segment."""
    table = results.tables["folds"]
    columns = ["experiment", "protocol", "fold", "seed", "tested", "accuracy", "macro_f1"]
    columns += ["majority", *BASELINES, "epoch", "without_valid_face", "warnings"]
    return listing(
        "Each fold, by segment", table.loc[table["level"] == "segment", columns], "folds.csv"
    )


def literature(results: Results) -> Listing:
    """Published numbers and others'."""
    return listing(
        "Published numbers, and those of others", results.tables["literature"], "literature.csv"
    )


def cleaning(results: Results) -> Listing:
    """What was done to the EEG, by variant and subject."""
    rows = []
    for known in results.cleaning:
        for subject, about in known.subjects.items():
            bad = [
                f"{entry['channel']} ({entry['why']}, {len(entry['experiment_ids'])} trials, "
                f"{entry['done']})"
                for entry in about.get("bad_channels", [])
            ]
            taken = about.get("removed_variance", {}).values()
            rows.append(
                (
                    known.variant,
                    subject,
                    about.get("artefacts", "none"),
                    len(about["removed"]) if "removed" in about else None,
                    sum(taken) / len(taken) if taken else None,
                    ", ".join(bad) or "none",
                )
            )
    columns = ["EEG", "subject", "artefacts", "components removed", "variance taken"]
    table = pd.DataFrame(rows, columns=[*columns, "bad channels"])
    table = table.astype({"components removed": "Int64"})
    return listing("What was done to the EEG; variance taken is the mean over channels", table)


def missing(results: Results) -> Listing:
    """Trials without EEG or video, by subject, and segments without a face."""
    trials, rows = results.trials, []
    for subject, held in trials.groupby("subject", sort=True):
        without = held["video_file"].isna()
        row = {"subject": subject, "trials": len(held)}
        row |= {"without EEG": _numbers(held.loc[held["eeg_file"].isna(), "trial"])}
        row |= {"without video": _numbers(held.loc[without, "trial"])}
        frames = results.frames[results.frames["subject"] == subject]
        for frame in frames.itertuples():
            of = "" if frame.faces == "default" else f" ({frame.faces})"
            row[f"frames{of}"] = frame.frames
            row[f"without a face{of}"] = frame.frames - frame.with_a_face
            row[f"segments without a face{of}"] = frame.segments_without_a_face
        rows.append(row)
    return listing("What was there of each subject; trials by their position", pd.DataFrame(rows))


def warnings(results: Results) -> list[str]:
    """Remarks of the splits, each once with the runs that it is of."""
    found: dict[str, int] = {}
    for group in results.groups:
        for metrics in group.metrics.values():
            for warning in metrics["warnings"]:
                text = f"{group.experiment}, {group.protocol}: {warning}"
                found[text] = found.get(text, 0) + 1
    return [f"{text} ({count} {'run' if count == 1 else 'runs'})" for text, count in found.items()]


def dropped(results: Results) -> list[str]:
    """Tested segments that were left out for want of a valid face."""
    found = []
    for group in results.groups:
        count = sum(m["without_valid_face"].get("test", 0) for m in group.metrics.values())
        if count:
            found.append(
                f"{group.experiment}, {group.protocol}: {count} test segments without a valid face"
            )
    return found


def inputs(results: Results) -> Listing:
    """What was read: each table, and the other files by folder under one digest."""
    return listing("Content of what was read", pd.DataFrame(_digests(results)))


def _digests(results: Results) -> Iterable[dict[str, Any]]:
    groups: dict[str, list[str]] = {}
    for path, digest in sorted(results.inputs.items()):
        parts = path.split("/")
        deep = parts[0] in ("runs", "explanations")
        place = path if parts[0] == "tables" else "/".join(parts[: 3 if deep else -1])
        groups.setdefault(place, []).append(digest)
    for place, digests in groups.items():
        whole = digests[0] if len(digests) == 1 else "".join(digests)
        code = whole if len(digests) == 1 else hashlib.sha256(whole.encode()).hexdigest()
        yield {"below results/": place, "files": len(digests), "digest": code[:12]}


def _heads(table: pd.DataFrame) -> list[str]:
    names = {metric.replace("_", " "): title for metric, title in SHOWN.items()}
    names["p holm"] = "p (Holm)"
    heads = [str(name).replace("_", " ") for name in table.columns]
    return [names.get(head, head) for head in heads]


def _places(table: pd.DataFrame) -> range:
    return range(table.shape[1])


def _cell(value: Any) -> Cell:
    return Cell(_text(value), _number(value))


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return None if pd.isna(number) else number


def _text(value: Any) -> str:
    if value is None or (pd.api.types.is_scalar(value) and pd.isna(value)):
        return "–"
    if isinstance(value, float):
        return f"{value:.0f}" if value == int(value) and abs(value) > 1 else f"{value:.3f}"
    return str(value)


def _changes(changes: dict[str, Any]) -> str:
    return ", ".join(f"{key}: {json.dumps(value)}" for key, value in changes.items()) or "nothing"


def _numbers(trials: pd.Series) -> str:
    return ", ".join(map(str, sorted(trials))) or "none"
