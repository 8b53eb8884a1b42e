"""Figures of what the model looked at and of how the EEG was cleaned."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from milmer.drawing.scalp import scalp_map, strongest
from milmer.drawing.svg import DEEPEST, WIDTH, Axes, Drawing, Figure, Panel, ticks
from milmer.evaluation.model_card import shares_text
from milmer.evaluation.report.sources import Cleaning, Group, Importance, Results
from milmer.readers.channels import Positions

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
        if (share := results.attention(group)) is None:
            continue
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


def _measured(results: Results, kind: str) -> list[tuple[Group, Importance]]:
    """The importance of each group's parts of a kind, where it was computed."""
    computed = [(group, results.importance(group, kind)) for group in results.groups]
    return [(group, values) for group, values in computed if values is not None]


def channels(results: Results) -> Figure:
    """Which EEG channels the model relies on."""
    maps = []
    for group, values in _measured(results, "channel"):
        variant = results.options.experiments[group.experiment].eeg
        places = next((c.positions for c in results.cleaning if c.variant == variant), None)
        maps.append((group.title, values.mean, values.text, places))
    return Figure(
        "channels",
        "Which channels matter",
        f"{_EXCHANGED} Here each EEG channel; all maps have one scale.",
        list(_maps("increase of cross-entropy in nats", maps)),
        "No channel importance was computed.",
    )


def importance(results: Results) -> Figure:
    """Which modalities, paths and instances the model relies on."""
    panels = []
    for kind, what in (("part", "parts"), ("instance", "instances")):
        measured = _measured(results, kind)
        means = [mean for _, values in measured for mean in values.mean.values()]
        ends = min([0.0, *means]), max([1e-3, *means])
        panels += [_importance_panel(group, what, values, ends) for group, values in measured]
    return Figure(
        "importance",
        "Modalities, paths and instances",
        f"{_EXCHANGED} Here whole modalities, the linear paths, what the deep path makes of a "
        "modality, and each instance of the bag. The line is the mean ± standard error over runs.",
        panels,
        "No importance was computed.",
    )


_EXCHANGED = (
    "By how much the cross-entropy of test segments increases when something is exchanged among "
    "them at random (permutation importance): the mean over runs (folds and seeds) and over "
    "repeats. Something stands out only by the rule that the text below each panel names."
)
_PARTS = {
    "eeg": "EEG",
    "face": "face",
    "linear_eeg": "linear path, EEG",
    "linear_face": "linear path, face",
    "deep_eeg": "deep path, EEG",
    "deep_face": "deep path, frames",
}


def _importance_panel(
    group: Group, what: str, values: Importance, ends: tuple[float, float]
) -> Panel:
    named = Importance([_PARTS.get(name, name) for name in values.names], values.increase)
    left, step = 128 if what == "parts" else 84, 24
    drawing = Drawing(height=step * len(named.names) + 48)
    margin = 0.08 * (ends[1] - ends[0])
    span = (ends[0] - margin, ends[1] + margin)
    axes = Axes(drawing, (left, 4, WIDTH - left - 60, step * len(named.names)), span, (0, 1))
    axes.grid(ticks(*span, 3), [], "increase of cross-entropy in nats", "")
    zero, outstanding = axes.at(0, 0)[0], named.outstanding
    drawing.line(zero, 4, zero, 4 + step * len(named.names), "axis")
    for i, (name, mean) in enumerate(named.mean.items()):
        y, x = 4 + step * (i + 0.5), axes.at(mean, 0)[0]
        error, high = named.error[name], x
        drawing.text(left - 8, y + 4, name, "soft", "end")
        if error >= 0:
            low, high = (
                axes.at(min(max(end, span[0]), span[1]), 0)[0]
                for end in (mean - error, mean + error)
            )
            drawing.line(low, y, high, y, "whisker")
        drawing.circle(x, y, 5 if name in outstanding else 3.5)
        kind = "bold label" if name in outstanding else "label"
        drawing.text(max(x + 5, high) + 5, y + 4, f"{mean:.3f}", kind)
    return drawing.panel(f"{group.title}: {what}", named.text)


def _maps(
    what: str, maps: list[tuple[str, dict[str, float], str, Positions | None]]
) -> Iterator[Panel]:
    """Maps of one quantity, ``what``, on one scale: their title, values, text and positions."""
    every = [value for _, values, _, _ in maps for value in values.values()]
    for title, values, text, positions in maps:
        yield scalp_map(title, values, what, text, positions, (min(every), max(every)))


def cleaning(results: Results) -> Figure:
    """What cleaning found in the EEG and removed."""
    panels = [*_cleaning_panels(results.cleaning)]
    return Figure(
        "cleaning",
        "What was removed from the EEG",
        "Flat or extreme channels, with the number of trials; the share of each channel's variance "
        "that was removed with the eye movements; how strongly each channel contained each EOG "
        "signal; and the twelve largest of the independent components that were removed.",
        panels,
        "Nothing was removed from the EEG: no channel was bad, and artefacts were not removed.",
    )


def _cleaning_panels(variants: list[Cleaning]) -> Iterator[Panel]:
    removed, eyes, components = [], [], []
    for cleaned in variants:
        subjects, name = cleaned.subjects, cleaned.variant
        bad = {
            (subject, entry["channel"]): len(entry["trials"])
            for subject, about in subjects.items()
            for entry in about.get("bad_channels", [])
        }
        if bad:
            yield _bad_channels(cleaned, bad)
        if shares := [a["removed_variance"] for a in subjects.values() if "removed_variance" in a]:
            removed.append((f"{name}: removed variance", *_mean_map(shares), cleaned.positions))
        by_eye = [a["coefficients"] for a in subjects.values() if "coefficients" in a]
        for eye in by_eye[0] if by_eye else []:
            mean, text = _mean_map([c[eye] for c in by_eye])
            eyes.append((f"{name}: {eye} in the EEG", mean, text, cleaned.positions))
        components += [
            (component["variance"], name, subject, component, cleaned.positions)
            for subject, about in subjects.items()
            for component in about.get("removed", [])
        ]
    yield from _maps("share of variance", removed)
    yield from _maps("µV per µV of the EOG", eyes)
    largest = sorted(components, key=lambda c: -c[0])[:_MOST_MAPS]
    yield from _maps("µV per standard deviation", [_component(*c[1:]) for c in largest])


def _component(
    variant: str, subject: str, component: dict[str, Any], positions: Positions | None
) -> tuple[str, dict[str, float], str, Positions | None]:
    r = ", ".join(f"|r| {value:.2f} with {eye}" for eye, value in component["r"].items())
    text = f"{r}; {100 * component['variance']:.1f} % of the variance; largest for "
    text += f"{strongest(component['map'])}."
    return (
        f"{variant}, {subject}: component {component['index']}",
        component["map"],
        text,
        positions,
    )


def _mean_map(maps: list[dict[str, float]]) -> tuple[dict[str, float], str]:
    """The mean over subjects, and where it is largest."""
    mean = {name: float(np.mean([values[name] for values in maps])) for name in maps[0]}
    subjects = "1 subject" if len(maps) == 1 else f"{len(maps)} subjects"
    return mean, f"Mean over {subjects}; largest for {strongest(mean)}."


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
