"""The timeline of a recording: the probability of each class over time, and where no face was seen.

Each class has a lane, from 0 to 1; dots mark the segments in which it is the most probable.
"""

import math

import numpy as np
import pandas as pd

from milmer.drawing.svg import WIDTH, Axes, Drawing, Figure, Panel, ticks

_LANE, _BETWEEN, _LEFT, _TOP = 46, 24, 24, 24
_SPAN, _MOST = 300.0, 24  # length of a panel in s, and the largest number of panels


def timeline(table: pd.DataFrame, labels: list[str]) -> Figure:
    """The figure of a table of predictions; times are in s of the recording or of the trial."""
    groups = [("", table)]
    if "trial" in table and table["trial"].nunique() > 1:
        groups = [(f"trial {n}: ", part) for n, part in table.groupby("trial", sort=False)]
    panels = [panel for title, part in groups for panel in _panels(title, part, labels)]
    return Figure(
        "timeline",
        "Probabilities over time",
        "A lane for each class, from 0 to 1; dots mark the segments in which it is the most "
        "probable. Nothing is predicted where it is hatched: no face was seen, or too many EEG "
        "channels were bad.",
        panels,
        "There is no segment.",
    )


def _panels(title: str, table: pd.DataFrame, labels: list[str]) -> list[Panel]:
    begin, end = float(table["start"].min()), float(table["stop"].max())
    span = max(_SPAN, 60 * math.ceil((end - begin) / _MOST / 60))
    count = max(1, math.ceil((end - begin) / span - 0.05))  # a rest of a few s joins the last
    panels = []
    for i in range(count):
        low, high = begin + i * span, end if i == count - 1 else begin + (i + 1) * span
        part = table[(table["start"] >= low - 1e-6) & (table["start"] < high - 1e-6)]
        if not part.empty:
            panels.append(_panel(f"{title}{clock(low)} to {clock(high)}", part, labels, low, high))
    return panels


def _panel(title: str, table: pd.DataFrame, labels: list[str], low: float, high: float) -> Panel:
    bottom = _TOP + len(labels) * (_LANE + _BETWEEN) - _BETWEEN
    drawing = Drawing(WIDTH, bottom + 44)
    drawing.hatch()
    gap = table["class"].isna().to_numpy()
    starts, stops = table["start"].to_numpy(), table["stop"].to_numpy()
    wide = WIDTH - _LEFT - 12
    minutes = high - low > 120
    unit = 60.0 if minutes else 1.0
    whole = Axes(drawing, (_LEFT, _TOP, wide, bottom - _TOP), (low / unit, high / unit), (0, 1))
    for first, last in _runs(gap):
        x, _ = whole.at(starts[first] / unit, 0)
        drawing.hatched(x, _TOP, whole.at(stops[last] / unit, 0)[0] - x, bottom - _TOP)
    for i, name in enumerate(labels):
        top = _TOP + i * (_LANE + _BETWEEN)
        axes = Axes(drawing, (_LEFT, top, wide, _LANE), (low / unit, high / unit), (0, 1))
        for value in (0, 1):
            drawing.line(*axes.at(low / unit, value), *axes.at(high / unit, value))
            drawing.text(_LEFT - 6, axes.at(0, value)[1] + 4, value, "soft", "end")
        drawing.text(_LEFT, top - 6, name, "small")
        p = table[f"p_{name}"].to_numpy()
        for first, last in _runs(~gap):
            steps = [
                axes.at(edge / unit, p[j])
                for j in range(first, last + 1)
                for edge in (starts[j], _until(starts, stops, j, last))
            ]
            drawing.path(steps, "curve")
        for j in np.flatnonzero(table["class"].to_numpy() == name):
            middle = (starts[j] + _until(starts, stops, j, len(starts) - 1)) / 2
            drawing.circle(*axes.at(middle / unit, p[j]), 2.2, "second")
    for value in ticks(low / unit, high / unit, 5):
        x, _ = whole.at(value, 0)
        drawing.line(x, bottom, x, bottom + 4, "axis")
        drawing.text(x, bottom + 17, f"{value:g}", "soft", "middle")
    drawing.text(WIDTH - 12, bottom + 34, "time in min" if minutes else "time in s", "soft", "end")
    return drawing.panel(title, _description(table, labels, gap))


def _until(starts: np.ndarray, stops: np.ndarray, j: int, last: int) -> float:
    """Where a segment's line ends: where the next one begins, if they overlap."""
    return min(stops[j], starts[j + 1]) if j < last else stops[j]


def _runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """First and last index of each unbroken run of true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(int)))
    return [(int(a), int(b) - 1) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _description(table: pd.DataFrame, labels: list[str], gap: np.ndarray) -> str:
    segments = table["class"].value_counts()
    counts = ", ".join(f"{name} {int(segments.get(name, 0))}" for name in labels)
    without = f"; without a prediction {int(gap.sum())}" if gap.any() else ""
    return f"{len(table)} segments, by their most probable class: {counts}{without}."


def clock(seconds: float) -> str:
    """Seconds as minutes and seconds, with hours where there are any."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
