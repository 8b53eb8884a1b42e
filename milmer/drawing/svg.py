"""Small SVG panels that stand side by side on a wide page and below each other on a phone.

A panel is about as wide as a phone, so its text is never scaled down. Colours are the page's CSS
variables, so a figure is just as legible in dark mode and in print. The same numbers give the same
bytes.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

WIDTH = 340
"""Width of a panel in CSS px."""

DEEPEST = 0.48
"""Opacity of the deepest colour on which text is still legible, in light and in dark mode."""

STYLE = Path(__file__).with_name("figures.css")
_GAP, _COLUMNS = 24, 3  # of a figure's own file


@dataclass(frozen=True)
class Panel:
    """One drawing: its ``title``, its ``description`` in numbers, its size and its SVG elements."""

    title: str
    description: str
    width: float
    height: float
    body: str

    def svg(self, name: str, place: str = "") -> str:
        """The panel as an ``<svg>`` whose ids begin with ``name``."""
        return (
            f'<svg class="panel" role="img" aria-labelledby="{name}-t {name}-d" '
            f'viewBox="0 0 {_n(self.width)} {_n(self.height)}" xmlns="http://www.w3.org/2000/svg"'
            f'{place}><title id="{name}-t">{escape(self.title)}</title>'
            f'<desc id="{name}-d">{escape(self.description)}</desc>'
            f"{self.body.replace('#HATCH', f'#{name}-h').replace('HATCH', f'{name}-h')}</svg>"
        )


@dataclass(frozen=True)
class Figure:
    """Panels on one question; ``caption`` says how to read them, ``absent`` why there are none."""

    name: str
    title: str
    caption: str
    panels: Sequence[Panel]
    absent: str = ""

    def file(self) -> str:
        """The figure as an SVG document of its own."""
        if not self.panels:
            drawing = Drawing(WIDTH, 40)
            for i, line in enumerate(wrapped(self.absent, 52)):
                drawing.text(8, 24 + 16 * i, line)
            drawing.height = 40 + 16 * i
            panels = [drawing.panel(self.title, self.absent)]
        else:
            panels = list(self.panels)
        rows = [panels[i : i + _COLUMNS] for i in range(0, len(panels), _COLUMNS)]
        parts, y, right = [], _GAP, 0.0
        for i, row in enumerate(rows):
            x = _GAP
            for j, panel in enumerate(row):
                parts.append(f'<text class="head" x="{_n(x)}" y="{y}">{escape(panel.title)}</text>')
                place = f' x="{_n(x)}" y="{y + 8}" width="{_n(panel.width)}"'
                place += f' height="{_n(panel.height)}"'
                parts.append(panel.svg(f"{self.name}-{i * _COLUMNS + j + 1}", place))
                x += panel.width + _GAP
            right = max(right, x)
            y += round(max(panel.height for panel in row)) + 2 * _GAP
        return (
            f'<svg class="sheet" xmlns="http://www.w3.org/2000/svg" width="{_n(right)}" '
            f'height="{y}" viewBox="0 0 {_n(right)} {y}"><title>{escape(self.title)}</title>'
            f"<style>{STYLE.read_text(encoding='utf-8')}</style>"
            f'<rect class="paper" width="100%" height="100%"/>{"".join(parts)}</svg>\n'
        )


class Drawing:
    """Collects SVG elements; coordinates and sizes are in CSS px."""

    def __init__(self, width: float = WIDTH, height: float = 240):
        self.width, self.height = width, height
        self._parts: list[str] = []

    def panel(self, title: str, description: str) -> Panel:
        """The elements drawn so far, as a panel."""
        return Panel(title, description, self.width, self.height, "".join(self._parts))

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str = "rule") -> None:
        """A straight line."""
        self._add("line", kind, x1=x1, y1=y1, x2=x2, y2=y2)

    def path(self, points: Iterable[tuple[float, float]], kind: str = "curve") -> None:
        """A line through points."""
        self._add("path", kind, d="M" + "L".join(f"{_n(x)} {_n(y)}" for x, y in points))

    def rect(
        self, x: float, y: float, width: float, height: float, kind: str, share: float | None = None
    ) -> None:
        """A filled rectangle; ``share`` is its opacity."""
        opacity = {} if share is None else {"fill-opacity": share}
        self._add("rect", kind, x=x, y=y, width=max(0.0, width), height=max(0.0, height), **opacity)

    def cell(self, x: float, y: float, width: float, height: float, share: float) -> None:
        """A table cell whose colour deepens with ``share``, 0 to 1."""
        self.rect(x, y, width, height, "empty")
        self.rect(x, y, width, height, "strong", DEEPEST * share)

    def block(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        """A rectangle of any ``colour``, where the page's own do not do."""
        self._parts.append(
            f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(height)}" '
            f'fill="{colour}"/>'
        )

    def circle(self, x: float, y: float, radius: float, kind: str = "dot") -> None:
        """A filled circle."""
        self._add("circle", kind, cx=x, cy=y, r=radius)

    def diamond(self, x: float, y: float, kind: str = "second") -> None:
        """A filled diamond."""
        self._add("path", kind, d=f"M{_n(x)} {_n(y - 5)}l5 5l-5 5l-5 -5z")

    def text(self, x: float, y: float, text: object, kind: str = "", at: str = "start") -> None:
        """Text whose baseline starts at, is centred on or ends at a point."""
        anchor = "" if at == "start" else f' text-anchor="{at}"'
        styled = f' class="{kind}"' if kind else ""
        self._parts.append(
            f'<text x="{_n(x)}" y="{_n(y)}"{styled}{anchor}>{escape(str(text))}</text>'
        )

    def picture(self, x: float, y: float, size: float, coded: str) -> None:
        """A square picture, ``coded`` as a data URI."""
        self._parts.append(
            f'<image x="{_n(x)}" y="{_n(y)}" width="{_n(size)}" height="{_n(size)}" '
            f'href="{coded}"/>'
        )

    def hatch(self) -> None:
        """Define the pattern that :meth:`hatched` fills with; once per drawing."""
        self._parts.append(
            '<defs><pattern id="HATCH" width="6" height="6" patternUnits="userSpaceOnUse" '
            'patternTransform="rotate(45)"><rect class="faint" width="6" height="6"/>'
            '<rect class="strong" width="2.5" height="6"/></pattern></defs>'
        )

    def hatched(self, x: float, y: float, width: float, height: float) -> None:
        """A hatched rectangle; see :meth:`hatch`."""
        self._parts.append(
            f'<rect class="edged" fill="url(#HATCH)" x="{_n(x)}" y="{_n(y)}" '
            f'width="{_n(max(0.0, width))}" height="{_n(height)}"/>'
        )

    def _add(self, element: str, kind: str, **attributes: float | str) -> None:
        text = " ".join(
            f'{k}="{v if isinstance(v, str) else _n(v)}"' for k, v in attributes.items()
        )
        self._parts.append(f'<{element} class="{kind}" {text}/>')


class Axes:
    """A plot's rectangle within a drawing, with linear scales ``x`` and ``y``."""

    def __init__(
        self,
        drawing: Drawing,
        box: tuple[float, float, float, float],
        x: tuple[float, float],
        y: tuple[float, float],
    ):
        self.drawing, self.box = drawing, box
        self._x, self._y = ((low, high if high > low else low + 1.0) for low, high in (x, y))

    def at(self, x: float, y: float) -> tuple[float, float]:
        """The point (x, y) of the data, in CSS px of the drawing."""
        left, top, width, height = self.box
        across = (x - self._x[0]) / (self._x[1] - self._x[0])
        up = (y - self._y[0]) / (self._y[1] - self._y[0])
        return left + width * across, top + height * (1 - up)

    def grid(self, xs: Sequence[float], ys: Sequence[float], x_name: str, y_name: str) -> None:
        """Grid lines with their numbers, and the names of both axes."""
        left, top, width, height = self.box
        for value in ys:
            _, y = self.at(self._x[0], value)
            self.drawing.line(left, y, left + width, y)
            self.drawing.text(left - 6, y + 4, f"{value:g}", "soft", "end")
        for value in xs:
            x, _ = self.at(value, self._y[0])
            self.drawing.line(x, top + height, x, top + height + 4)
            self.drawing.text(x, top + height + 17, f"{value:g}", "soft", "middle")
        if x_name:
            self.drawing.text(left + width, top + height + 33, x_name, "soft", "end")
        if y_name:
            self.drawing.text(left, top - 8, y_name, "soft")


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Round numbers between ``low`` and ``high``, about as many as ``about`` says."""
    span = high - low
    if not span > 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(span / about))
    step = next(m * power for m in (1, 2, 5, 10) if span / (m * power) <= about)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def wrapped(text: str, columns: int) -> list[str]:
    """Text broken into lines of at most ``columns`` letters, longer words aside."""
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) >= columns and lines[-1]:
            lines.append("")
        lines[-1] += f"{word} "
    return [line.rstrip() for line in lines]


def _n(value: float) -> str:
    """A number as SVG takes it, with at most two decimals."""
    return f"{round(float(value), 2):g}" if abs(value) < 1e5 else str(round(value))
