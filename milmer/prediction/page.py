"""The page of a prediction: one file that needs no other and no network."""

from typing import Any

import pandas as pd

from milmer.drawing.page import page_environment, page_style
from milmer.drawing.svg import Figure
from milmer.evaluation.report import markdown
from milmer.prediction.recipe import Recipe
from milmer.prediction.timeline import clock

_PARTS = {"train": "training", "val": "validation", "test": "test part"}
_ROWS = 2000  # segments that are listed on the page; all are in the table beside it


def page(table: pd.DataFrame, recipe: Recipe, about: dict[str, Any], figure: Figure) -> str:
    """The HTML of predictions ``table`` by the model of ``recipe``.

    ``about`` names the recording and the model, says what of it was in training, and has notes.
    """
    environment = page_environment("milmer.prediction")
    environment.filters["markdown"] = markdown.inline
    return environment.get_template("prediction.html").render(
        style=page_style(),
        lead=_lead(table, recipe),
        figure=figure,
        about=about,
        card=recipe.card,
        model=_model(recipe),
        shares=_shares(table, recipe.labels),
        temperature=recipe.temperature,
        columns=_columns(table, recipe.labels),
        rows=_rows(table, recipe.labels),
        more=max(0, len(table) - _ROWS),
    )


def _lead(table: pd.DataFrame, recipe: Recipe) -> str:
    seconds = recipe.segmentation.seconds
    begin, end = clock(table["start"].min()), clock(table["stop"].max())
    if "trial" in table and table["trial"].nunique() > 1:
        return f"{table['trial'].nunique()} trials, {len(table)} segments of {seconds:g} s."
    return f"From {begin} to {end}, {len(table)} segments of {seconds:g} s."


def _model(recipe: Recipe) -> list[tuple[str, str]]:
    """Who the model was trained and tested on, as terms and their text."""
    card = recipe.card
    if recipe.run is None:
        return [("trained on", "not known: converted from a checkpoint of the authors' code")]

    def people(part: str) -> str:
        subjects, segments = card[part]["subjects"], card[part]["segments"]
        return f"{subjects} subject{'' if subjects == 1 else 's'}, {segments} segments"

    accuracy = "the model was not evaluated"
    if card["results"] is not None:
        accuracy = (
            f"{card['results']['segment']['accuracy']:.2f} of the test segments; the majority "
            f"class {card['majority']['segment']:.2f}"
        )
    return [
        ("trained on", people("trained_on")),
        ("validated on", people("validated_on")),
        ("tested on", people("tested_on")),
        ("protocol", f"{card['protocol']}: {card['protocol_means']}"),
        ("fold, seed", f"{card['fold']}, {card['seed']}"),
        ("accuracy", accuracy),
    ]


def _shares(table: pd.DataFrame, labels: list[str]) -> list[tuple[str, str]]:
    """How often each class is the most probable, and its mean probability."""
    there = table[table["class"].notna()]
    return [
        (
            name,
            f"{(there['class'] == name).mean():.0%} of the segments, "
            f"mean probability {there[f'p_{name}'].mean():.2f}",
        )
        for name in labels
    ]


def _columns(table: pd.DataFrame, labels: list[str]) -> list[str]:
    trial = ["trial"] if "trial" in table else []
    faces = ["faces", "chosen frames at"] if table["face_seen"].notna().any() else []
    seen = ["in the model's"] if table["seen"].notna().any() else []
    return [*trial, "time", "class", *seen, *labels, *faces]


def _rows(table: pd.DataFrame, labels: list[str]) -> list[list[str]]:
    listed = []
    faces, seen = (table[name].notna().any() for name in ("face_seen", "seen"))
    for row in table.head(_ROWS).to_dict("records"):
        cells = [str(row["trial"])] if "trial" in row else []
        cells += [clock(row["start"]), row["class"] or "–"]
        if seen:
            cells.append(_PARTS.get(row["seen"], "–"))
        cells += ["–" if pd.isna(row[f"p_{n}"]) else f"{row[f'p_{n}']:.2f}" for n in labels]
        if faces:
            times = row["frame_times"]
            cells += [str(row["faces"]), "–" if times is None else _times(times)]
        listed.append(cells)
    return listed


def _times(times: list[float]) -> str:
    return ", ".join(f"{time:.1f} s" for time in times)
