"""Tables as people read them: Markdown for a screen or a wiki, LaTeX with booktabs for a paper."""

import numpy as np
import pandas as pd

from milmer.evaluation.baseline_options import BASELINES
from milmer.evaluation.options import SHOWN
from milmer.evaluation.runs import KEY

_BASELINES = (
    "Majority: always naming the training part's most common class; chance: drawing classes as "
    "often as they occur there; band power: log band power and logistic regression on the same "
    "segments."
)
_LOSO = (
    "Folds of `loso` share most of their training data: intervals and p-values there are "
    "approximate."
)
NOTES = {
    "summary": "Mean ± standard deviation over subjects, and from six subjects on the [bootstrap "
    f"interval] of the mean. {_BASELINES} ECE: expected calibration error by segment, 15 bins, "
    f"over all segments together. {_LOSO}\n",
    "inflation": "Accuracy by segment. Reference: an honest protocol, the epoch not chosen on the "
    "test part; chosen honestly: the experiment that differs in `training.select` alone, under the "
    f"same protocol. {_BASELINES}\n",
    "ablation": "Each experiment and what it is above the first by, over the subjects that both "
    f"have. {_LOSO}\n",
    "tests": "Sign-flip tests over the subjects that both have, two-sided, null below six; Holm's "
    f"correction over the experiments against the same. {_BASELINES} {_LOSO}\n",
}
"""The line below each table that has readable forms."""

_LATEX = {
    "\\": r"\textbackslash{}",
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "–": "--",
    "−": r"$-$",
    "…": r"\dots{}",
}


def readable(name: str, table: pd.DataFrame) -> pd.DataFrame:
    """A table as texts: numbers with three digits, a dash for what is null."""
    shown = _summary(table) if name == "summary" else table
    shown = shown.drop(columns="more_data", errors="ignore")  # the note says it
    shown = shown.rename(columns=lambda column: str(column).replace("_", " "))
    return shown.map(_text)


def markdown(shown: pd.DataFrame) -> str:
    """A readable table in Markdown."""
    cells = shown.map(lambda text: text.replace("|", "\\|"))
    return cells.to_markdown(index=False, disable_numparse=True) + "\n"


def latex(shown: pd.DataFrame) -> str:
    """A readable table in LaTeX, with the rules of the package booktabs and in ASCII alone."""
    rows = [[_escaped(text) for text in row] for row in shown.to_numpy()]
    lines = [
        rf"\begin{{tabular}}{{{'l' * len(shown.columns)}}}",
        r"\toprule",
        " & ".join(_escaped(str(column)) for column in shown.columns) + r" \\",
        r"\midrule",
        *(" & ".join(row) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _summary(summary: pd.DataFrame) -> pd.DataFrame:
    """The summary with a row an experiment, protocol and level."""
    rows = []
    for key, group in summary.groupby(KEY, sort=False):
        values, first = group.set_index("metric"), group.iloc[0]
        row = dict(zip(KEY, key, strict=True)) | {"subjects": first["subjects"]}
        row |= {metric: _cell(values.loc[metric]) for metric in SHOWN}
        row |= {name: first[name] for name in ("majority", "chance", *BASELINES)}
        rows.append(row | {"ECE": first["ece"], "note": first["note"]})
    return pd.DataFrame(rows)


def _cell(value: pd.Series) -> str:
    text = _text(value["mean"])
    if not pd.isna(value["sd"]):
        text += f" ± {_text(value['sd'])}"
    if not pd.isna(value["low"]):
        text += f" [{_text(value['low'])}, {_text(value['high'])}]"
    return text


def _text(value: object) -> str:
    if pd.isna(value):
        return "–"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(mark, mark) for mark in text)
