"""The table of controls, and which link it says could explain a result."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from milmer import storage
from milmer.evaluation.caveats import caveat
from milmer.evaluation.runs import TablesOptions

COLUMNS = {
    **dict.fromkeys(("labels", "protocol", "features", "variant", "control"), "string"),
    **dict.fromkeys(("observed", "drawn", "drawn_low", "drawn_high"), "float64"),
    **{"draws": "int64", "all": "bool", "p": "float64", "smallest_p": "float64"},
    "chance": "float64",
    **dict.fromkeys(("trials", "stimuli", "stimuli_on_both_sides"), "int64"),
    "caveat": "string",
}
"""Columns of the table and their kinds, see :func:`milmer.evaluation.controls.make_controls`."""

SIGNALS = {"band_power": "log band power", "mean_token": "the mean token"}
"""The features of controls that look at signals, in prose."""

_ROUNDING = 5e-4
_RARE, _LIMIT = 0.01, 0.05  # p of a prior: where there are enough draws, and at most


def control_files(folder: Path, options: TablesOptions) -> list[Path]:
    """The files that the stage ``controls`` made."""
    return [folder / labels / f"{protocol}.parquet" for labels, protocol in options.controls]


def controls_table(folder: Path | None, options: TablesOptions) -> pd.DataFrame:
    """The controls of all labels and protocols; without ``folder`` no row."""
    parts = []
    for path in control_files(folder, options) if folder is not None else ():
        facts = storage.read_provenance(path)["facts"]
        table = storage.read_table(path, "controls")
        about = {name: facts[name] for name in COLUMNS if name in facts and name != "labels"}
        about["caveat"] = caveat(leaky=facts["leaky"])
        parts.append(table.assign(labels=path.parent.name, **about))
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(COLUMNS))
    return table[list(COLUMNS)].astype(COLUMNS)


@dataclass(frozen=True)
class Link:
    """A way from trials to classes that is no emotion.

    ``prior`` is the balanced accuracy of knowing it alone. ``signal`` names the features that know
    it: LDA on them reaches ``kept`` of labels permuted so that the link survives, and no more than
    ``broken`` in 19 of 20 draws if it does not. These three are null if no features do.
    """

    name: str
    prior: float
    signal: str | None = None
    kept: float | None = None
    broken: float | None = None

    def explains(self, result: float) -> bool:
        """Whether a balanced accuracy could come from the link alone."""
        return self.signal is not None or self.prior >= result - _ROUNDING


def links(controls: pd.DataFrame) -> Iterator[Link]:
    """The links by which classes can be told in the controls of one protocol.

    That is what a prior tells above chance, and seldom of labels that are linked to nothing;
    position only if it tells more than the subject.
    """
    by = controls.set_index(["features", "control"])
    least = by["chance"].iloc[0]
    for name, keeps, breaks in (
        ("subject", "by_trial", "any_trial"),
        ("position", "shifted", "by_trial"),
        ("stimulus", "by_stimulus", "by_trial"),
    ):
        prior = by.loc[(name, "any_trial")]
        rare = prior["p"] <= min(max(_RARE, prior["smallest_p"]), _LIMIT)
        if not rare or prior["observed"] <= least + _ROUNDING:
            continue
        if name == "subject":
            least = max(least, prior["observed"])
        yield _signal(by, name, prior["observed"], keeps, breaks)


def _signal(by: pd.DataFrame, name: str, prior: float, keeps: str, breaks: str) -> Link:
    """The link, with the features that know it best."""
    best = Link(name, prior)
    for features in SIGNALS:
        if not {(features, keeps), (features, breaks)} <= set(by.index):
            continue
        kept = by.loc[(features, keeps), "drawn"]
        broken = by.loc[(features, breaks), "drawn_high"]
        if kept > broken and (best.kept is None or kept > best.kept):
            best = Link(name, prior, features, kept, broken)
    return best
