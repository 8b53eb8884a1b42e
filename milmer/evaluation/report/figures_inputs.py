"""Figures of what the model looked at and of how the EEG was cleaned."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from milmer.drawing.scalp import scalp_map, strongest
from milmer.drawing.svg import DEEPEST, WIDTH, Axes, Drawing, Figure, Panel, ticks
from milmer.evaluation.model_card import shares_text
from milmer.evaluation.report.sources import Cleaning, Group, Results

_SCORE_BINS = np.linspace(-3, 3, 25)
_MOST_MAPS = 12  # of removed components, the largest first


def frames(results: Results) -> Figure:
    """Which frames were chosen: within the segment, over the trial, and by score."""
    panels = [panel for group in results.groups for panel in _frames_panels(group)]
    return Figure(
        "frames",
        "Which frames the model chose",
        "Three panels for each experiment and protocol: how often each instance of a bag was "
        "chosen, where the dashed line is random choice; the same by the position of the segment "
        "in its trial, where a stronger colour means more often; and the scores of chosen and "
        "other instances, standardised within each run.",
        panels,
        "No experiment chooses among frames.",
    )


def _frames_panels(group: Group) -> Iterator[Panel]:
    table = group.predictions[group.predictions["chosen"].notna()]
    if table.empty:
        return
    lists = [np.asarray(chosen, int) for chosen in table["chosen"]]
    lengths = [len(s) for s in table["scores"] if s is not None]
    size = max([max(chosen.max(initial=0) + 1 for chosen in lists), *lengths])
    hit = np.zeros((len(lists), size), bool)  # (segment, instance)
    for row, chosen in zip(hit, lists, strict=True):
        row[chosen[chosen >= 0]] = True
    share, even = hit.mean(axis=0), hit.sum() / hit.size
    if even == 1:
        return
    yield _instances(group, share, even)
    by_position = pd.DataFrame(hit).groupby(table["position"].to_numpy()).mean()
    yield _over_the_trial(group, by_position)
    # An experiment with smaller bags scores fewer instances than are numbered.
    scored = np.array([s is not None and len(s) == size for s in table["scores"]])
    if scored.any():
        runs = table["run"].to_numpy()[scored]
        yield _scores(group, np.stack(list(table["scores"][scored])), hit[scored], runs)


def _instances(group: Group, share: np.ndarray, even: float) -> Panel:
    drawing, top = Drawing(), max(0.05, 1.1 * share.max())
    axes = Axes(drawing, (44, 26, WIDTH - 56, 170), (-0.6, len(share) - 0.4), (0, top))
    axes.grid(range(len(share)), ticks(0, top), "instance in its segment", "share chosen")
    for i, value in enumerate(share):
        left, y = axes.at(i - 0.4, value)
        drawing.rect(left, y, axes.at(i + 0.4, 0)[0] - left, axes.at(i, 0)[1] - y, "strong")
    drawing.line(*axes.at(-0.6, even), *axes.at(len(share) - 0.4, even), "dashed")
    description = f"Most often instance {share.argmax()} ({share.max():.2f} of segments), least "
    description += f"often {share.argmin()} ({share.min():.2f}); random choice {even:.2f} each."
    return drawing.panel(f"{group.title}: within the segment", description)


def _over_the_trial(group: Group, share: pd.DataFrame) -> Panel:
    positions, instances = share.shape
    wide, high = (WIDTH - 56) / positions, min(20, 180 / instances)
    drawing = Drawing(height=26 + high * instances + 44)
    drawing.text(44, 16, "instance", "soft")
    values = share.to_numpy()
    for (position, instance), value in np.ndenumerate(values):
        x, y = 44 + wide * position, 26 + high * instance
        drawing.rect(x, y, wide - 1, high - 1, "strong", value / max(values.max(), 1e-9))
    for instance in range(instances):
        drawing.text(36, 26 + high * (instance + 0.5) + 4, instance, "soft", "end")
    bottom = 26 + high * instances
    for position in share.index[:: max(1, positions // 8)]:
        x = 44 + wide * (list(share.index).index(position) + 0.5)
        drawing.text(x, bottom + 16, position, "soft", "middle")
    drawing.text(WIDTH - 12, bottom + 34, "segment of the trial", "soft", "end")
    place = np.unravel_index(values.argmax(), values.shape)
    description = f"Most often instance {place[1]} of segment {share.index[place[0]]} "
    description += f"({values.max():.2f}); the least often chosen instance {values.min():.2f}."
    return drawing.panel(f"{group.title}: over the trial", description)


def _scores(group: Group, scores: np.ndarray, hit: np.ndarray, runs: np.ndarray) -> Panel:
    standard = np.empty(scores.shape)
    for run in np.unique(runs):
        run_scores = scores[runs == run]
        deviation = run_scores.std() or 1.0
        standard[runs == run] = (run_scores - run_scores.mean()) / deviation
    drawing, shares = Drawing(), []
    for part in (hit, ~hit):
        counts, _ = np.histogram(np.clip(standard[part], -3, 3), _SCORE_BINS)
        shares.append(counts / max(1, counts.sum()))
    top = 1.1 * max(share.max() for share in shares)
    axes = Axes(drawing, (44, 26, WIDTH - 56, 170), (-3, 3), (0, top))
    axes.grid(range(-3, 4), ticks(0, top), "score", "share of instances")
    for share, kind in zip(shares, ("curve", "curve other"), strict=True):
        steps = [
            axes.at(x, value)
            for i, value in enumerate(share)
            for x in (_SCORE_BINS[i], _SCORE_BINS[i + 1])
        ]
        drawing.path(steps, kind)
    for i, (name, kind) in enumerate((("chosen", "curve"), ("others", "curve other"))):
        drawing.line(WIDTH - 100, 14 + 16 * i, WIDTH - 72, 14 + 16 * i, kind)
        drawing.text(WIDTH - 66, 18 + 16 * i, name, "soft")
    description = f"Mean standardised score {standard[hit].mean():.2f} of chosen instances and "
    description += f"{standard[~hit].mean():.2f} of the others."
    return drawing.panel(f"{group.title}: scores", description)


def attention(results: Results) -> Figure:
    """Where on the face the model looked."""
    panels = []
    for group in results.groups:
        if (explanation := results.explanations(group, "attention")) is None:
            continue
        share = explanation[0]
        side = 280 / max(share.shape)
        drawing = Drawing(300, 20 + side * len(share))
        for (i, j), value in np.ndenumerate(share):
            x, y = 10 + side * j, 10 + side * i
            drawing.cell(x, y, side - 1, side - 1, value / share.max())
            if side > 30:
                drawing.text(x + side / 2, y + side / 2 + 4, f"{100 * value:.1f}", "", "middle")
        i, j = np.unravel_index(share.argmax(), share.shape)
        description = f"Mean attention over {share.shape[0]} x {share.shape[1]} parts of the face "
        description += f"in percent; highest in row {i + 1}, column {j + 1} "
        description += f"({100 * share.max():.1f}), uniform would be {100 / share.size:.1f}. "
        description += shares_text(results.logit_shares(group))
        panels.append(drawing.panel(group.title, description))
    return Figure(
        "attention",
        "Attention to the face",
        "Mean attention over the parts of the chosen faces, in percent; a face fills the square.",
        panels,
        "No attention was recorded.",
    )


def channels(results: Results) -> Figure:
    """Which EEG channels the model relies on."""
    panels = []
    for group in results.groups:
        if (explanation := results.explanations(group, "channel")) is None:
            continue
        values, names = explanation
        increase = dict(zip(names, values.tolist(), strict=True))
        description = f"The loss increases most for {strongest(increase)}. "
        description += shares_text(results.logit_shares(group))
        variant = results.options.experiments[group.experiment].eeg
        places = next((c.positions for c in results.cleaning if c.variant == variant), None)
        what = "increase of cross-entropy"
        panels.append(scalp_map(group.title, increase, what, description, places))
    return Figure(
        "channels",
        "Which channels matter",
        "How much the cross-entropy of test segments increases when a channel is replaced by that "
        "of another segment (permutation importance).",
        panels,
        "No channel importance was computed.",
    )


def cleaning(results: Results) -> Figure:
    """What cleaning found in the EEG and removed."""
    panels = [panel for variant in results.cleaning for panel in _cleaning_panels(variant)]
    return Figure(
        "cleaning",
        "What was removed from the EEG",
        "Flat or extreme channels, with the number of trials; the share of each channel's variance "
        "that was removed with the eye movements; how strongly each channel contained each EOG "
        "signal; and the twelve largest of the independent components that were removed.",
        panels,
        "Nothing was removed from the EEG: no channel was bad, and artefacts were not removed.",
    )


def _cleaning_panels(cleaned: Cleaning) -> Iterator[Panel]:
    bad = {
        (subject, entry["channel"]): len(entry["trials"])
        for subject, about in cleaned.subjects.items()
        for entry in about.get("bad_channels", [])
    }
    if bad:
        yield _bad_channels(cleaned, bad)
    removed = [a["removed_variance"] for a in cleaned.subjects.values() if "removed_variance" in a]
    if removed:
        mean = _mean(removed)
        text = f"Mean over {_counted(len(removed))}; largest for {strongest(mean)}."
        title, what = f"{cleaned.variant}: removed variance", "share of variance"
        yield scalp_map(title, mean, what, text, cleaned.positions)
    coefficients = [a["coefficients"] for a in cleaned.subjects.values() if "coefficients" in a]
    for eye in coefficients[0] if coefficients else []:
        mean = _mean([c[eye] for c in coefficients])
        text = f"Mean over {_counted(len(coefficients))}; largest for {strongest(mean)}."
        title, what = f"{cleaned.variant}: {eye} in the EEG", f"µV per µV of {eye}"
        yield scalp_map(title, mean, what, text, cleaned.positions)
    components = [
        (subject, component)
        for subject, about in cleaned.subjects.items()
        for component in about.get("removed", [])
    ]
    for subject, component in sorted(components, key=lambda c: -c[1]["variance"])[:_MOST_MAPS]:
        r = ", ".join(f"|r| {value:.2f} with {eye}" for eye, value in component["r"].items())
        text = f"{r}; {100 * component['variance']:.1f} % of the variance; largest for "
        text += f"{strongest(component['map'])}."
        title = f"{cleaned.variant}, {subject}: component {component['index']}"
        what = "µV per standard deviation"
        yield scalp_map(title, component["map"], what, text, cleaned.positions)


def _bad_channels(cleaned: Cleaning, bad: dict[tuple[str, str], int]) -> Panel:
    subjects = [s for s in cleaned.subjects if any(s == of for of, _ in bad)]
    named = [c for c in cleaned.channels if any(c == channel for _, channel in bad)]
    wide, high = min(40, (WIDTH - 60) / len(subjects)), 22
    drawing, most = Drawing(height=high * len(named) + 34), max(bad.values())
    for j, subject in enumerate(subjects):
        if wide >= 26 or j % 2 == 0:
            drawing.text(52 + wide * (j + 0.5), 18, subject, "soft", "middle")
    for i, name in enumerate(named):
        drawing.text(46, 26 + high * (i + 0.5) + 4, name, "", "end")
        for j, subject in enumerate(subjects):
            count = bad.get((subject, name), 0)
            x, y = 52 + wide * j, 26 + high * i
            drawing.rect(x, y, wide - 1, high - 1, "empty")
            if count:
                drawing.rect(
                    x, y, wide - 1, high - 1, "strong", 0.1 + (DEEPEST - 0.1) * count / most
                )
                drawing.text(x + wide / 2, y + high / 2 + 4, count, "small", "middle")
    worst = sorted(bad.items(), key=lambda item: -item[1])[:3]
    text = ", ".join(f"{channel} of {subject} in {n} trials" for (subject, channel), n in worst)
    return drawing.panel(f"{cleaned.variant}: bad channels, trials", f"Most often {text}.")


def _mean(maps: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([values[name] for values in maps])) for name in maps[0]}


def _counted(subjects: int) -> str:
    return "1 subject" if subjects == 1 else f"{subjects} subjects"
