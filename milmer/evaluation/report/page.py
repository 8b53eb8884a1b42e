"""Stage ``report``: one self-contained page of what was run and what resulted.

The page needs no network and no other file. It contains no time and no path of this machine, so
the same results give the same bytes. Each figure is also written to a file of its own.
"""

import json
from pathlib import Path
from typing import Any

from markupsafe import Markup

from milmer import folders, storage
from milmer.drawing.page import page_environment, page_style
from milmer.drawing.svg import Figure
from milmer.evaluation.model_card import PROTOCOLS
from milmer.evaluation.report import (
    figures_inputs,
    figures_results,
    first_screen,
    markdown,
    pictures,
    tables,
)
from milmer.evaluation.report.figures import FIGURES
from milmer.evaluation.report.options import ReportStageOptions
from milmer.evaluation.report.sources import Results

DRAWN_IN = (first_screen, figures_results, figures_inputs)
"""The modules with a function named after each figure."""

SECTIONS = {
    "results": "Results",
    "subjects": "Per subject",
    "confusion": "Confusion",
    "learning": "Learning curves",
    "reliability": "Calibration",
    "reliance": "What the model relies on",
    "data": "Data",
    "methods": "Methods",
}
"""The page's sections in their order, by their anchors."""

_KINDS = {
    "dat": "preprocessed EEG (.dat)",
    "mat": "preprocessed EEG (.mat)",
    "bdf": "original recordings (.bdf)",
    "manifest": "recordings listed in a manifest",
}


def make_report(folder: Path, options: ReportStageOptions, out: Path) -> None:
    """Write ``index.html`` and ``figures/*.svg`` below ``out`` from the results in ``folder``.

    Reads the tables and the conclusions, the runs, the tables of trials, what the files of segments
    and faces say about themselves, and explanations if there are any. Raises
    :class:`~milmer.errors.MilmerError` if a required file is missing.
    """
    results = Results(folder, options)
    results.require()
    figures = {name: _figure(name, results) for name in FIGURES}
    page = _page(results, figures)
    files = {f"figures/{name}.svg": figure.file() for name, figure in figures.items()}
    files["index.html"] = page
    folders.claim(out, "report", files, [folder / "runs", folder / "tables"])
    for name, text in files.items():
        storage.write_text(out / name, text)


def _figure(name: str, results: Results) -> Figure:
    draw = next(getattr(module, name) for module in DRAWN_IN if hasattr(module, name))
    return draw(results)


def _page(results: Results, figures: dict[str, Figure]) -> str:
    environment = page_environment("milmer.evaluation.report")
    environment.filters["markdown"] = markdown.html
    content: dict[str, Any] = {
        "style": page_style(),
        "script": Markup((Path(__file__).parent / "page.js").read_text(encoding="utf-8")),
        "lead": _lead(results),
        "headline": first_screen.headline(results),
        "leaks": first_screen.leaks(results),
        "sections": SECTIONS,
        "figures": figures,
        "facts": _facts(results),
        "classes": _quadrants(results),
        "protocols": _protocols(results),
        "conclusions": results.conclusions,
        "bags": pictures.bags(results),
        "faces": results.options.report.faces,
        "experiments": tables.experiments(results),
        "summary": tables.summary(results),
        "tests": tables.tests(results),
        "ablation": tables.ablation(results),
        "folds": tables.folds(results),
        "literature": tables.literature(results),
        "cleaning": tables.cleaning(results),
        "missing": tables.missing(results),
        "rejected": tables.rejected(results),
        "dropped": tables.dropped(results),
        "warnings": tables.warnings(results),
    }
    # Last, when everything has been read.
    content |= {"inputs": tables.inputs(results), "provenance": _provenance(results)}
    return environment.get_template("page.html").render(content)


def _lead(results: Results) -> str:
    kind = _KINDS.get(results.options.source, results.options.source)
    subjects = _many(len(results.options.subjects), "subject")
    return f"Emotion recognition: {subjects}, {kind}"


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _facts(results: Results) -> list[tuple[str, str]]:
    """What was run and on which data, as terms and numbers."""
    trials, options = results.trials, results.options
    segments = {
        c.variant: sum(a["segments"] for a in c.subjects.values()) for c in results.cleaning
    }
    runs = sum(len(group.metrics) for group in results.groups)
    with_eeg, with_video = trials["eeg_file"].notna(), trials["video_file"].notna()
    return [
        ("data", _KINDS.get(options.source, options.source)),
        ("subjects", f"{len(options.subjects)} ({len(results.filmed)} with face video)"),
        ("trials", f"{len(trials)} ({with_eeg.sum()} with EEG, {with_video.sum()} with video)"),
        ("segments", ", ".join(f"{count} ({name})" for name, count in segments.items()) or "–"),
        ("classes", ", ".join(results.groups[0].labels) if results.groups else "–"),
        ("training", f"{_many(runs, 'run')}, {_many(len(options.experiments), 'experiment')}"),
    ]


def _quadrants(results: Results) -> list[tuple[str, str]]:
    """What the names of the four quadrants stand for; none of other classes."""
    levels = {"H": "high", "L": "low"}
    names = dict.fromkeys(label for group in results.groups for label in group.labels)
    return [
        (name, f"{levels[name[2]]} valence, {levels[name[0]]} arousal")
        for name in names
        if len(name) == 4 and name[1::2] == "AV" and {name[0], name[2]} <= levels.keys()
    ]


def _protocols(results: Results) -> list[tuple[str, str]]:
    names = dict.fromkeys(group.protocol for group in results.groups)
    return [(name, PROTOCOLS[name]) for name in names]


def _provenance(results: Results) -> dict[str, Any]:
    provenance = storage.provenance("report", __name__, results.options.result(), {})
    report = {key: v for key, v in provenance["options"].items() if key != "experiments"}
    # Experiments that share the options of a stage share their entry.
    shared: dict[tuple[str, str], list[str]] = {}
    for name in results.options.experiments:
        for stage, stage_options in results.options_of(name).items():
            text = json.dumps(stage_options, sort_keys=True)
            shared.setdefault((stage, text), []).append(name)
    options = [(f"{stage}: {', '.join(names)}", text) for (stage, text), names in shared.items()]
    return {
        "options": [("report", json.dumps(report, sort_keys=True)), *options],
        "versions": provenance["versions"],
    }
