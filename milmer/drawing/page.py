"""What self-contained pages share: templates, a style sheet and figures as panels."""

from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from milmer.drawing.svg import Figure

_FOLDER = Path(__file__).parent


def page_environment(package: str) -> Environment:
    """The templates of ``package`` and of this one; the filter ``svg`` lists a figure's panels."""
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package, "."), PackageLoader("milmer.drawing", ".")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["svg"] = _panels
    return environment


def page_style() -> Markup:
    """The style sheet of a page with figures."""
    sheets = (_FOLDER / name for name in ("figures.css", "page.css"))
    return Markup("".join(sheet.read_text(encoding="utf-8") for sheet in sheets))


def _panels(figure: Figure) -> list[dict[str, Any]]:
    return [
        {
            "title": panel.title,
            "description": panel.description,
            "svg": Markup(panel.svg(f"{figure.name}-{i}")),
        }
        for i, panel in enumerate(figure.panels, 1)
    ]
