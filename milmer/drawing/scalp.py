"""Head maps of a value per EEG channel, drawn with MNE (Gramfort et al. 2013)."""

import base64
import io
from collections.abc import Mapping

import numpy as np

from milmer.drawing.svg import Drawing, Panel
from milmer.readers.channels import Positions, info, placed_names

_LINES = "#7a828e"  # visible on light and on dark paper
_SIZE = 240  # of the picture in CSS px; it has half as many dots again


def scalp_map(
    title: str,
    values: Mapping[str, float],
    what: str,
    description: str,
    positions: Positions | None = None,
    limits: tuple[float, float] | None = None,
) -> Panel:
    """A map of ``values`` by channel; ``what`` names the quantity and its unit.

    ``limits`` are the smallest and the largest value of all maps on the same scale.
    ``positions`` are those of the recording; without them names have those of the 10–20 system. A
    channel that has none is left out, and the description names it.
    """
    positioned = placed_names().values() if positions is None else positions
    placed = {name: float(v) for name, v in values.items() if name in positioned}
    drawing = Drawing(_SIZE + 40, _SIZE + 66)
    if len(placed) < 4:  # too few to interpolate between
        drawing.height = 40
        drawing.text(8, 24, "no map: it is not known where the channels are")
        return drawing.panel(title, description)
    low, high = limits or (min(placed.values()), max(placed.values()))
    most, signed = max(-low, high) or 1.0, low < 0
    drawing.picture(20, 0, _SIZE, _map(placed, most, signed, positions))
    _scale(drawing, (-most if signed else 0.0, most), signed)
    drawing.text(20, _SIZE + 60, what, "soft")
    absent = [name for name in values if name not in placed]
    if absent:
        description += f" Without a place on the head: {', '.join(absent)}."
    return drawing.panel(title, description)


def strongest(values: Mapping[str, float], count: int = 3) -> str:
    """The ``count`` channels of the largest magnitude and their values, as text."""
    first = sorted(values, key=lambda name: -abs(values[name]))[:count]
    return ", ".join(f"{name} {values[name]:.3g}" for name in first)


def _map(
    values: Mapping[str, float], most: float, signed: bool, positions: Positions | None
) -> str:
    """The map as a data URI of a PNG; colours end at ±``most``, or at 0 and ``most``."""
    import mne
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.4, 2.4), dpi=1.5 * _SIZE / 2.4)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.02, 0.02, 0.96, 0.96))
    with mne.utils.use_log_level("error"):
        mne.viz.plot_topomap(
            np.array(list(values.values())),
            info(list(values), positions),
            axes=axes,
            show=False,
            cmap="RdBu_r" if signed else "Blues",
            vlim=(-most if signed else 0.0, most),
            contours=4,
            res=48,
        )
    for line in axes.lines:  # head, nose and ears
        line.set_color(_LINES)
        line.set_linewidth(1.6)
    file = io.BytesIO()
    figure.savefig(file, format="png", transparent=True, metadata={"Software": None})
    return "data:image/png;base64," + base64.b64encode(_small(file.getvalue())).decode()


def _small(png: bytes) -> bytes:
    """The picture reduced to a palette: a third of the size, and no visible difference."""
    from PIL import Image

    file = io.BytesIO()
    picture = Image.open(io.BytesIO(png)).quantize(48, Image.Quantize.FASTOCTREE)
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()


def _scale(drawing: Drawing, ends: tuple[float, float], signed: bool) -> None:
    from matplotlib import colormaps

    colours = colormaps["RdBu_r" if signed else "Blues"](np.linspace(0, 1, 24))
    for i, colour in enumerate(colours):
        code = "".join(f"{round(255 * part):02x}" for part in colour[:3])
        drawing.block(20 + 10 * i, _SIZE + 8, 10.4, 10, f"#{code}")
    for x, value, at in ((20, ends[0], "start"), (260, ends[1], "end")):
        drawing.text(x, _SIZE + 34, f"{value:.3g}", "soft", at)
