"""Tables for people to read: Markdown for a wiki, LaTeX with booktabs for a paper."""

import numpy as np
import pandas as pd

from milmer.evaluation.options import METRIC_TITLES
from milmer.evaluation.runs import KEY

_BASELINES = (
    "Majority: always predict the most common class of the training part; chance: draw classes at "
    "random, as often as they occur there; best baseline: of the simple methods that look at "
    "nothing else, the best on the validation parts. All are tested on the same segments."
)
_LOSO = (
    "Folds of `loso` share most of their training data, so their intervals and p-values are "
    "approximate."
)
NOTES = {
    "summary": "Mean ± standard deviation over subjects, with Student's [interval] of the mean "
    f"if there are at least six. {_BASELINES} ECE: expected calibration error by segment, 15 bins, "
    f"over all segments together. {_LOSO}\n",
    "inflation": "Accuracy by segment. Reference: the result under an honest protocol, with the "
    "epoch not chosen on the test part; chosen honestly: the experiment under the same protocol "
    f"that differs only in `training.select`. {_BASELINES}\n",
    "ablation": "Each experiment and its difference from the first, on the subjects and test "
    f"segments that both have; left out: the segments that only one of them has. {_LOSO}\n",
    "baselines": "Validated: balanced accuracy on the validation parts, mean over folds, by which "
    "the best of those is chosen that look at what an experiment looks at (best of); balanced "
    "accuracy: on the test parts, by segment, mean over subjects with Student's interval.\n",
    "controls": "Balanced accuracy by segment, mean over subjects. Observed: with the true labels; "
    "drawn: mean over labels that are permuted so that a link survives (any_trial: none; by_trial: "
    "the subject; shifted: also blocks and drift; by_stimulus: what was shown), with the 5 % and "
    "95 % quantiles. Stimulus, subject and position are priors, which look at no signal.\n",
    "tests": "Two-sided sign-flip tests over the subjects that both have, none below six, each "
    "measured on the test segments that both have; left out: the segments that only one has. "
    "Primary hypotheses, those on the first experiment, are Holm-corrected by protocol, level and "
    "metric; all others are exploratory. d: the difference in standard deviations. "
    f"{_BASELINES} {_LOSO}\n",
}
"""The line below each table that is written as Markdown."""

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


def as_texts(name: str, table: pd.DataFrame) -> pd.DataFrame:
    """A table as texts: numbers with three decimals, a dash for null."""
    table = _summary(table) if name == "summary" else table
    hidden = [
        "d_low",
        "d_high",
        "detectable",
        "needed",
        "more_data",
        "all",
        "baseline",
        "features",
        "classifier",
        "trials",
        "stimuli",
        "stimuli_on_both_sides",
    ]
    table = table.drop(columns=hidden, errors="ignore")  # notes and conclusions say it
    table = table.rename(columns=lambda column: str(column).replace("_", " "))
    return table.map(_text)


def markdown(texts: pd.DataFrame) -> str:
    """A table of texts in Markdown."""
    cells = texts.map(lambda text: text.replace("|", "\\|"))
    return cells.to_markdown(index=False, disable_numparse=True) + "\n"


def latex(texts: pd.DataFrame) -> str:
    """A table of texts in LaTeX, with rules of the package booktabs, in pure ASCII."""
    rows = [[_escaped(text) for text in row] for row in texts.to_numpy()]
    lines = [
        rf"\begin{{tabular}}{{{'l' * len(texts.columns)}}}",
        r"\toprule",
        " & ".join(_escaped(str(column)) for column in texts.columns) + r" \\",
        r"\midrule",
        *(" & ".join(row) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _summary(summary: pd.DataFrame) -> pd.DataFrame:
    """The summary with one row per experiment, protocol and level."""
    rows = []
    for key, group in summary.groupby(KEY, sort=False):
        values, first = group.set_index("metric"), group.iloc[0]
        row = dict(zip(KEY, key, strict=True)) | {"subjects": first["subjects"]}
        row |= {metric: _cell(values.loc[metric]) for metric in METRIC_TITLES}
        row |= {name: first[name] for name in ("majority", "chance")}
        row |= {"best_baseline": values["best_baseline"]["balanced_accuracy"]}
        row |= {"baseline_name": first["baseline_name"], "ECE": first["ece"]}
        rows.append(row | {name: first[name] for name in ("caveat", "note")})
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
