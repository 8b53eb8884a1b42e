"""The timeline and the page: what they say of the table, and how they look in a browser."""

import re

import numpy as np
import pandas as pd
import pytest

from milmer.prediction.page import page
from milmer.prediction.recipe import Recipe
from milmer.prediction.timeline import clock, timeline
from tests.browser import browser, found

LABELS = ["HAHV", "LAHV", "LALV", "HALV"]


def table(count, gaps=()):
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(4), count)
    made = pd.DataFrame({"start": 3.0 * np.arange(count), "stop": 3.0 * np.arange(count) + 3})
    made["class"] = [LABELS[i] for i in p.argmax(1)]
    for i, name in enumerate(LABELS):
        made[f"p_{name}"] = p[:, i]
    made["face_seen"], made["faces"], made["seen"] = True, 10, None
    made["frame_times"] = [[s + 0.5, s + 1.5] for s in made["start"]]
    gap = list(gaps)
    made.loc[gap, [f"p_{name}" for name in LABELS]] = np.nan
    made.loc[gap, "class"] = None
    made.loc[gap, "face_seen"] = False
    return made


def about(note):
    """What a page says of a recording and a model, with a note."""
    training = "Of 30 segments none was in training."
    recording = {"eeg": "0123456789ab"}
    return {"training": training, "recording": recording, "model": "abcdef", "notes": [note]}


@pytest.fixture
def known(run):
    return Recipe.read(run / "model")


def test_each_class_has_a_lane_whose_line_breaks_at_gaps():
    made = table(20, [5, 6, 12])
    (panel,) = timeline(made, LABELS).panels
    assert panel.body.count('class="curve"') == 4 * 3
    assert panel.body.count('class="edged"') == 2
    assert panel.body.count("<circle") == 17
    assert all(f">{name}</text>" in panel.body for name in LABELS)
    assert "20 segments" in panel.description
    assert "without a prediction 3" in panel.description
    assert "nan" not in panel.body
    for name in LABELS:
        assert f"{name} {(made['class'] == name).sum()}" in panel.description


@pytest.mark.parametrize(
    ("count", "panels"), [(1, 1), (100, 1), (101, 1), (200, 2), (1200, 12), (24_000, 24)]
)
def test_a_panel_is_five_minutes_and_there_are_no_more_than_24(count, panels):
    figure = timeline(table(count), LABELS)
    assert len(figure.panels) == panels
    assert sum(p.body.count("<circle") for p in figure.panels) == count


def test_a_trial_has_a_panel_of_its_own():
    parts = [table(3).assign(trial=n, experiment_id=n + 1) for n in (4, 2)]
    figure = timeline(pd.concat(parts, ignore_index=True), LABELS)
    assert [p.title for p in figure.panels] == ["trial 4: 0:00 to 0:09", "trial 2: 0:00 to 0:09"]


def test_times_are_told_as_people_do():
    assert [clock(s) for s in (0, 61, 3599.6, 7325)] == ["0:00", "1:01", "1:00:00", "2:02:05"]


def test_the_page_lists_segments_and_says_where_more_are(known):
    text = page(table(2100, [7]), known, about("A remark <b>."), timeline(table(30), LABELS))
    assert text.count("<tr>") == 2001
    assert "100 more are in predictions.csv" in text
    assert "A remark &lt;b&gt;." in text
    assert text.index("none was in training") < text.index("0123456789ab") < text.index("A remark")
    assert not re.findall(r'(?:src|href)="(?!#|data:)', text)  # it needs no other file


@pytest.mark.skipif(found() is None, reason="needs a Chromium")
def test_it_fits_phone_and_desktop_in_the_light_and_the_dark(known, tmp_path):
    made = table(220, range(30, 50))
    path = tmp_path / "index.html"
    path.write_text(page(made, known, about("A remark."), timeline(made, LABELS)))
    with browser(found(), tmp_path / "profile") as shown:
        for width in (390, 1280):
            for dark in (False, True):
                shown.open(path, width, dark)
                assert shown.complaints() == []
                assert shown.js("document.documentElement.scrollWidth") <= width
                boxes = shown.js(
                    "[...document.querySelectorAll('svg.panel')].map(s => [...s.querySelectorAll("
                    "'text')].every(t => { const a = t.getBoundingClientRect(),"
                    " b = s.getBoundingClientRect(); return a.left >= b.left - 1 &&"
                    " a.right <= b.right + 1 && a.top >= b.top - 1 && a.bottom <= b.bottom + 1 }))"
                )
                assert boxes
                assert all(boxes)  # no text is cut off
                paper, ink = shown.js(
                    "[getComputedStyle(document.body).backgroundColor,"
                    " getComputedStyle(document.querySelector('svg.panel text')).fill]"
                )
                light = [sum(map(int, re.findall(r"\d+", c)[:3])) for c in (paper, ink)]
                assert (light[0] < light[1]) == dark
