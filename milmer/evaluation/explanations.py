"""What else than the class could explain a result: sentences from the controls."""

from collections.abc import Mapping

import pandas as pd

from milmer.evaluation.control_table import SIGNALS, Link, links
from milmer.evaluation.runs import TablesOptions
from milmer.splits.protocols import PROTOCOLS

_LIMIT = 0.05  # of a p-value
_LEAST_LEAK = 0.02  # above chance, of a mean over draws
_QUANTILES_APART = 3.29  # standard deviations between the 5 % and the 95 % quantile

_LINKS = {
    "subject": ("who was recorded", "permuted among the trials of each subject"),
    "position": ("the position in the session", "shifted in presentation order"),
    "stimulus": ("which stimulus was shown", "exchanged between stimuli"),
}


def explanations(tables: Mapping[str, pd.DataFrame], options: TablesOptions) -> list[str]:
    """A sentence on each experiment and protocol that controls were run for."""
    summary, sentences = tables["summary"], []
    rows = summary[(summary["level"] == "segment") & (summary["metric"] == "balanced_accuracy")]
    for (labels, protocol), controls in tables["controls"].groupby(
        ["labels", "protocol"], sort=False
    ):
        names = [n for n, e in options.experiments.items() if e.labels == labels]
        mine = rows[rows["experiment"].isin(names) & (rows["protocol"] == protocol)]
        if PROTOCOLS[str(protocol)].leaky:
            sentences += _leak(protocol, controls)
        else:
            for row in mine.itertuples():
                seen = ("", *options.experiments[str(row.experiment)].inputs)
                sentences.append(_explained(row, controls[controls["variant"].isin(seen)]))
        if PROTOCOLS[str(protocol)].leaves_subject_out:
            sentences += _stimuli(str(protocol), controls)
    return sentences


def _explained(row: pd.Series, controls: pd.DataFrame) -> str:
    result, chance = row.mean, controls["chance"].iloc[0]
    what = f"`{row.experiment}` under `{row.protocol}` (balanced accuracy {_percent(result)})"
    permuted = controls[(controls["control"] == "by_trial") & controls["features"].isin(SIGNALS)]
    reached = permuted["drawn_high"].max()
    found = [link for link in links(controls) if link.explains(result)]
    if result <= chance:
        return f"{what} is not above chance ({_percent(chance)}): there is nothing to explain."
    if found:
        return f"{what} can be explained without the class: {'; '.join(map(_told, found))}."
    if permuted.empty:
        return (
            f"No prior explains {what}; there are no features that permuted labels were tried on."
        )
    trials = controls["trials"].iloc[0]
    if permuted["smallest_p"].min() >= _LIMIT:
        return (
            f"{what} can be chance: the labels of {trials} trials have only "
            f"{permuted['draws'].max()} orders, too few for a permutation test."
        )
    if result <= reached:
        return (
            f"{what} can be chance: with {trials} trials, permuted labels give "
            f"{_percent(reached)} in one of 20 draws."
        )
    priors = controls.set_index("features").loc[list(_LINKS)]
    if (as_good := priors[priors["observed"] >= result]).size:
        best = as_good.sort_values("observed").iloc[-1]
        return (
            f"{what} cannot be told from {_LINKS[str(best.name)][0]}, which alone gives "
            f"{_percent(best['observed'])}, as permuted labels do too (p = {best['p']:.3f})."
        )
    alone = ", ".join(f"{name} {_percent(value)}" for name, value in priors["observed"].items())
    return (
        f"Nothing that was looked for explains {what} but the class: permuted labels give at most "
        f"{_percent(reached)} in 19 of 20 draws, and each prior gives less ({alone})."
    )


def _told(link: Link) -> str:
    alone, permuted = _LINKS[link.name]
    text = f"{alone} alone gives {_percent(link.prior)}"
    if link.signal is None:
        return text
    return (
        f"{text}, and {SIGNALS[link.signal]} knows it: with labels {permuted}, LDA still reaches "
        f"{_percent(link.kept or 0)}, and without the link {_percent(link.broken or 0)} or less"
    )


def _leak(protocol: object, controls: pd.DataFrame) -> list[str]:
    chance = controls["chance"].iloc[0]
    permuted = controls[(controls["control"] == "by_trial") & controls["features"].isin(SIGNALS)]
    if permuted.empty:
        return []
    best = permuted.loc[permuted["drawn"].idxmax()]
    text = (
        f"Under `{protocol}`, LDA on {SIGNALS[best['features']]} reaches {_percent(best['drawn'])} "
        f"of labels that are permuted among trials, where chance is {_percent(chance)}: "
    )
    spread = (best["drawn_high"] - best["drawn_low"]) / _QUANTILES_APART
    if best["drawn"] - chance > max(_LEAST_LEAK, 3 * spread / best["draws"] ** 0.5):
        return [text + "it recognises trials, and so can any model."]
    return [text + "it does not recognise trials; another model may."]


def _stimuli(protocol: str, controls: pd.DataFrame) -> list[str]:
    first = controls.iloc[0]
    if not first["stimuli_on_both_sides"]:
        return []
    prior = controls.set_index("features")["observed"].loc["stimulus"]
    return [
        f"Under `{protocol}`, {first['stimuli_on_both_sides']} of {first['stimuli']} stimuli are "
        f"on both sides of a split. To know which was shown gives {_percent(prior)} of balanced "
        "accuracy; the protocol `stimulus` keeps them apart."
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
