"""The tables of the page: their rows and columns, and how cells are sorted."""

import hashlib
import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from milmer.evaluation.formats import as_texts
from milmer.evaluation.options import METRIC_TITLES
from milmer.evaluation.report.sources import Results, caveats
from milmer.evaluation.runs import KEY
from milmer.splits.protocols import PROTOCOLS

_MOST_ROWS = 300  # of a table on the page; its file has all of them


@dataclass(frozen=True)
class Cell:
    """The text of a cell, and the number to sort it by if it is one."""

    text: str
    number: float | None = None


@dataclass(frozen=True)
class PageTable:
    """A table that its headings sort; ``numeric`` says which columns contain numbers."""

    caption: str
    columns: Sequence[str]
    numeric: Sequence[bool]
    rows: Sequence[Sequence[Cell]]
    more: str = ""


def page_table(caption: str, table: pd.DataFrame, file: str = "") -> PageTable:
    """The first 300 rows of a table; ``file`` has the others."""
    rows = [[_cell(v) for v in row] for row in table.head(_MOST_ROWS).itertuples(index=False)]
    left = len(table) - _MOST_ROWS
    more = f"{left} more rows are in {file}." if left > 0 else ""
    return PageTable(caption, _heads(table), _numeric(table, rows), rows, more)


def experiments(results: Results) -> PageTable:
    """How the experiments differ from the configuration."""
    rows = [
        {
            "experiment": name,
            "protocols": ", ".join(experiment.folds),
            "EEG": experiment.eeg or "–",
            "faces": experiment.faces or "–",
            "differs by": _changes(experiment.changes),
        }
        for name, experiment in results.options.experiments.items()
    ]
    return page_table("How each experiment differs from the configuration", pd.DataFrame(rows))


def summary(results: Results) -> PageTable:
    """The summary: one row per experiment, protocol and level."""
    table, rows = results.tables["summary"], []
    texts = as_texts("summary", table)
    facts = table.groupby(KEY, sort=False)[["leaky", "select", "permuted"]].first()
    protocols = [
        ", ".join(
            [protocol, *caveats(leaky=leaky, on_test=select == "best_on_test", permuted=permuted)]
        )
        for (_, protocol, _), leaky, select, permuted in facts.itertuples()
    ]
    # The key number first, so that a narrow page shows it beside the experiment.
    key = ["experiment", "balanced accuracy", "protocol", "level"]
    last = ["subjects", "majority", "chance", "best baseline", "baseline name", "ECE"]
    first = [name for name in texts if name not in ("caveat", "note", *key, *last)]
    texts = texts[key + first + [name for name in texts if name in last]]
    means = table.pivot_table(
        index=["experiment", "protocol", "level"],
        columns="metric",
        values="mean",
        sort=False,
        dropna=False,
    )
    for protocol, (_, row) in zip(protocols, texts.iterrows(), strict=True):
        mean = means.loc[(row["experiment"], row["protocol"], row["level"])]
        cells = []
        for name, value in row.items():
            metric = str(name).replace(" ", "_")
            has_mean = metric in mean.index and not pd.isna(mean[metric])
            number = float(mean[metric]) if has_mean else _number(value)
            cells.append(Cell(protocol if name == "protocol" else _text(value), number))
        rows.append(cells)
    caption = "Mean ± standard deviation over subjects, with the [interval] of the mean if there "
    caption += "are at least six"
    for protocol in dict.fromkeys(table["protocol"]):
        if PROTOCOLS[protocol].leaves_subject_out:
            caption += f"; folds of {protocol} share most of their training data, so their "
            caption += "intervals are approximate"
    return PageTable(caption, _heads(texts), _numeric(texts, rows), rows)


def tests(results: Results) -> PageTable:
    """Paired tests of each experiment against the first and the baselines."""
    columns = ["experiment", "difference", "against", "protocol", "level", "metric", "low", "high"]
    columns += ["p", "p_holm", "d", "primary", "subjects", "needed", "segments", "left_out"]
    return page_table(
        "Paired sign-flip tests over subjects; primary ones are Holm-corrected",
        results.tables["tests"][[*columns, "caveat", "note"]],
        "tests.csv",
    )


def ablation(results: Results) -> PageTable:
    """Each experiment compared with the first, on the segments that both have."""
    table = results.tables["ablation"].drop(columns="changes")
    names = ["experiment", "balanced_accuracy", "protocol", "level"]
    table = table[[*names, *(name for name in table if name not in names)]]
    return page_table(
        "Means, and differences from the first experiment on the subjects and segments of both",
        table,
        "ablation.csv",
    )


def folds(results: Results) -> PageTable:
    """The results of each fold, by segment."""
    table = results.tables["folds"]
    columns = ["experiment", "accuracy", "protocol", "fold", "seed", "tested", "macro_f1"]
    columns += ["majority", "best_baseline", "baseline_name", "epoch", "without_valid_face"]
    columns += ["rejected", "warnings", "caveat"]
    return page_table(
        "Results of each fold, by segment",
        table.loc[table["level"] == "segment", columns],
        "folds.csv",
    )


def literature(results: Results) -> PageTable:
    """Published numbers for comparison."""
    table = results.tables["literature"]
    key = [name for name in ("work", "high") if name in table]
    return page_table(
        "Published numbers, each with its protocol and source",
        table[[*key, *(name for name in table if name not in key)]].rename(
            columns={"low": "from", "high": "up to"}
        ),
        "literature.csv",
    )


def cleaning(results: Results) -> PageTable:
    """How the EEG was cleaned, by variant and subject."""
    rows = []
    for cleaned in results.cleaning:
        for subject, about in cleaned.subjects.items():
            bad = [
                f"{entry['channel']} ({entry['why']}, {len(entry['trials'])} trials, "
                f"{entry['done']})"
                for entry in about.get("bad_channels", [])
            ]
            removed = about.get("removed_variance", {}).values()
            rows.append(
                (
                    cleaned.variant,
                    subject,
                    about.get("artefacts", "none"),
                    len(about["removed"]) if "removed" in about else None,
                    sum(removed) / len(removed) if removed else None,
                    ", ".join(bad) or "none",
                )
            )
    columns = ["EEG", "subject", "artefacts", "components removed", "variance taken"]
    table = pd.DataFrame(rows, columns=[*columns, "bad channels"])
    table = table.astype({"components removed": "Int64"})
    return page_table("How the EEG was cleaned; variance taken is the mean over channels", table)


def rejected(results: Results) -> PageTable | None:
    """Segments whose EEG cannot be used, by variant, subject and reason; None if there is none."""
    rows = [
        {"EEG": cleaned.variant, "subject": subject, "segments": about["segments"]}
        | about["rejected_segments"]
        for cleaned in results.cleaning
        for subject, about in cleaned.subjects.items()
        if about["rejected_segments"]
    ]
    if not rows:
        return None
    table = pd.DataFrame(rows)
    reasons = sorted(table.columns[3:])
    table[reasons] = table[reasons].fillna(0).astype(int)
    return page_table(
        "Segments that were rejected, by reason", table[[*table.columns[:3], *reasons]]
    )


def missing(results: Results) -> PageTable:
    """Trials without EEG or video, and frames and segments without a face, by subject."""
    trials, rows = results.trials, []
    for subject, table in trials.groupby("subject", sort=True):
        row = {"subject": subject, "trials": len(table)}
        row |= {"without EEG": _numbers(table.loc[table["eeg_file"].isna(), "trial"])}
        row |= {"without video": _numbers(table.loc[table["video_file"].isna(), "trial"])}
        frames = results.frames[results.frames["subject"] == subject]
        for frame in frames.itertuples():
            of = "" if frame.faces == "default" else f" ({frame.faces})"
            row[f"frames{of}"] = frame.frames
            row[f"without a face{of}"] = frame.frames - frame.with_a_face
            row[f"segments without a face{of}"] = frame.segments_without_a_face
            row[f"several faces{of}"] = frame.several_faces
            row[f"switches of track{of}"] = frame.switches
        rows.append(row)
    return page_table(
        "Data of each subject and what is missing of it; trials are listed by position",
        pd.DataFrame(rows),
    )


def warnings(results: Results) -> list[str]:
    """Warnings about the splits, each once with the number of its runs."""
    counts: dict[str, int] = {}
    for group in results.groups:
        for metrics in group.metrics.values():
            for warning in metrics["warnings"]:
                text = f"{group.experiment}, {group.protocol}: {warning}"
                counts[text] = counts.get(text, 0) + 1
    return [f"{text} ({count} {'run' if count == 1 else 'runs'})" for text, count in counts.items()]


def dropped(results: Results) -> list[str]:
    """Test segments that were left out and why, and runs that were skipped."""
    lines = []
    reasons = {"without_valid_face": "without a valid face", "rejected": "with unusable EEG"}
    for group, (fact, reason) in itertools.product(results.groups, reasons.items()):
        count = sum(metrics[fact].get("test", 0) for metrics in group.metrics.values())
        if count:
            lines.append(f"{group.experiment}, {group.protocol}: {count} test segments {reason}")
    for row in results.tables["skipped"].itertuples():
        run = f"{row.experiment}, {row.protocol} {row.fold}, seed {row.seed}"
        lines.append(f"{run} was skipped: {row.reason}")
    return lines


def inputs(results: Results) -> PageTable:
    """What was read: each table, and one digest per folder of other files."""
    return page_table(
        "Files that were read, with digests of their content", pd.DataFrame(_digests(results))
    )


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
    names = {metric.replace("_", " "): title for metric, title in METRIC_TITLES.items()}
    names["p holm"] = "p (Holm)"
    heads = [str(name).replace("_", " ") for name in table.columns]
    return [names.get(head, head) for head in heads]


def _numeric(table: pd.DataFrame, rows: Sequence[Sequence[Cell]]) -> list[bool]:
    """For each column of ``table``, whether all its cells are numbers or missing."""
    return [
        all(cells[i].number is not None or cells[i].text == "–" for cells in rows)
        for i in range(table.shape[1])
    ]


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
