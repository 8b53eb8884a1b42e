"""The report in a real browser: offline, on a phone and on a desk, in the light and in the dark.

Screenshots are written to MILMER_SCREENSHOTS, where that is set, for people to look at.
"""

import os
from pathlib import Path

import pytest

from milmer.evaluation.report.page import make_report
from tests.browser import browser, found
from tests.evaluation.results import make_results

WIDTHS = {"phone": 390, "desk": 1280}


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """The browser's page, and the report's file."""
    if found() is None:
        pytest.skip("no Chromium is installed here")
    folder = tmp_path_factory.mktemp("browser")
    options = make_results(folder / "results", 2)
    make_report(
        folder / "results", options.updated({"report": {"faces": "blurred"}}), folder / "report"
    )
    with browser(found(), folder / "profile") as page:
        yield page, folder / "report" / "index.html"


def unfold(page):
    page.js("document.querySelectorAll('details').forEach(d => { d.open = true; })")


def column(page, table, index):
    """The texts of a table's column as they stand."""
    return page.js(
        f"[...document.querySelectorAll('table[aria-labelledby={table}] tbody tr')]"
        f".map(row => row.cells[{index}].textContent)"
    )


def head(table, index):
    return f"document.querySelectorAll('table[aria-labelledby={table}] th button')[{index}]"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("place", WIDTHS)
def test_the_page_loads_offline_without_complaint_and_fits(opened, place, dark):
    page, path = opened
    page.open(path, WIDTHS[place], dark)
    assert page.complaints() == []
    assert page.js("document.documentElement.scrollWidth") == WIDTHS[place]
    assert page.js("document.images.length") > 0
    assert page.js("[...document.images].every(i => i.complete && i.naturalWidth && i.alt)")
    assert page.js("getComputedStyle(document.body).backgroundColor") == (
        "rgb(21, 24, 29)" if dark else "rgb(253, 253, 252)"
    )
    unfold(page)
    # All that is drawn lies within its drawing, and is no smaller than it was meant.
    outside = page.js(
        "[...document.querySelectorAll('svg.panel text')].filter(t => {"
        " const a = t.getBoundingClientRect(), b = t.ownerSVGElement.getBoundingClientRect();"
        " return a.left < b.left - 1 || a.right > b.right + 1 || a.top < b.top - 2"
        " || a.bottom > b.bottom + 2; }).map(t => t.textContent)"
    )
    assert outside == []
    scale = page.js(
        "Math.min(...[...document.querySelectorAll('svg.panel')].map(s =>"
        " s.getBoundingClientRect().width / s.viewBox.baseVal.width))"
    )
    assert scale > 0.9
    if folder := os.environ.get("MILMER_SCREENSHOTS"):
        name = f"{place}-{'dark' if dark else 'light'}.png"
        page.screenshot(Path(folder) / name)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(opened, dark):
    page, path = opened
    page.open(path, 1280, dark)
    unfold(page)
    low = page.js(
        """(() => {
        const light = (rgb) => rgb.map(v => v / 255)
          .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
          .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
        const parse = (text) => text.match(/[\\d.]+/g).map(Number);
        const paper = parse(getComputedStyle(document.body).backgroundColor);
        const behind = (text) => {  // of a text in a drawing: the filled cell before it
          let under = paper;
          const at = text.getBBox();
          for (const rect of text.ownerSVGElement.querySelectorAll('rect:not([fill])')) {
            const box = rect.getBBox(), x = at.x + at.width / 2, y = at.y + at.height / 2;
            if (x < box.x || x > box.x + box.width || y < box.y || y > box.y + box.height) continue;
            const style = getComputedStyle(rect), fill = parse(style.fill);
            const share = Number(style.fillOpacity);
            under = under.map((v, i) => v * (1 - share) + fill[i] * share);
          }
          return under;
        };
        const contrast = (a, b) => {
          const [x, y] = [light(a), light(b)].sort((p, q) => q - p);
          return (x + 0.05) / (y + 0.05);
        };
        const found = [];
        for (const text of document.querySelectorAll('svg.panel text')) {
          const ratio = contrast(parse(getComputedStyle(text).fill), behind(text));
          if (ratio < 4.5) found.push(`${text.textContent} ${ratio}`);
        }
        for (const part of document.querySelectorAll('p, a, td, th button, summary, dt, dd')) {
          const ratio = contrast(parse(getComputedStyle(part).color), paper);
          if (ratio < 4.5) found.push(`${part.textContent} ${ratio}`);
        }
        return found;
        })()"""
    )
    assert low == []


def test_tables_are_sorted_by_click_and_by_keyboard(opened):
    page, path = opened
    page.open(path)
    accuracy = 1
    before = column(page, "table-summary", accuracy)
    means = [float(text.split(" ")[0]) for text in before]
    assert means != sorted(means)
    page.click(head("table-summary", accuracy))
    after = [float(text.split(" ")[0]) for text in column(page, "table-summary", accuracy)]
    assert after == sorted(means)
    state = f"{head('table-summary', accuracy)}.parentElement.getAttribute('aria-sort')"
    assert page.js(state) == "ascending"
    page.js(f"{head('table-summary', accuracy)}.focus()")
    page.press("Enter", "\r")
    after = [float(text.split(" ")[0]) for text in column(page, "table-summary", accuracy)]
    assert (after, page.js(state)) == (sorted(means, reverse=True), "descending")
    page.press("Tab")
    assert page.js(f"document.activeElement === {head('table-summary', accuracy + 1)}")
    page.press(" ", " ")
    assert page.js(state) is None
    assert page.complaints() == []


def test_what_is_missing_sorts_last_either_way(opened):
    page, path = opened
    page.open(path)
    unfold(page)
    for _ in range(2):
        page.click(head("table-cleaning", 3))
        removed = column(page, "table-cleaning", 3)
        assert removed == ["1", "1", "–", "–"]


def test_a_reader_of_screens_is_told_each_drawing(opened):
    page, path = opened
    page.open(path)
    unfold(page)
    tree = page.call("Accessibility.getFullAXTree")["nodes"]
    named = [(n.get("name", {}).get("value", ""), n.get("role", {}).get("value")) for n in tree]
    drawn = [name for name, role in named if role in ("image", "img")]
    assert len(drawn) >= page.js("document.querySelectorAll('svg.panel').length") > 10
    assert all(any(letter.isdigit() for letter in name) for name in drawn if name), drawn
    assert all(drawn)


def test_on_paper_everything_is_open(opened):
    page, path = opened
    page.open(path)
    assert page.js("document.querySelectorAll('details:not([open])').length") > 0
    page.js("dispatchEvent(new Event('beforeprint'))")
    assert page.js("document.querySelectorAll('details:not([open])').length") == 0
    page.js("dispatchEvent(new Event('afterprint'))")
    assert page.js("document.querySelectorAll('details:not([open])').length") > 0


def test_on_paper_nothing_is_cut(opened):
    page, path = opened
    page.open(path, 1030)  # A4 across, less its margins
    page.js("dispatchEvent(new Event('beforeprint'))")
    page.call("Emulation.setEmulatedMedia", media="print")
    cut = page.js(
        "[...document.querySelectorAll('table, svg.panel, pre')].filter(part =>"
        " part.getBoundingClientRect().right > document.body.getBoundingClientRect().right + 1)"
        ".map(part => part.textContent.slice(0, 60))"
    )
    page.call("Emulation.setEmulatedMedia", media="")
    assert cut == []


def test_on_a_phone_the_first_screen_answers_and_key_numbers_are_in_view(opened):
    page, path = opened
    page.open(path, 390)
    bottom = page.js("document.querySelector('.leaks').getBoundingClientRect().bottom")
    assert bottom < 844
    unfold(page)
    keys = {"summary": 1, "tests": 1, "ablation": 1, "folds": 1, "literature": 1, "missing": 1}
    right = page.js(
        f"Object.entries({keys}).map(([name, column]) => document"
        ".querySelector(`table[aria-labelledby=table-${name}] tbody tr`)"
        ".cells[column].getBoundingClientRect().right)"
    )
    assert len(right) == len(keys)
    assert max(right) <= 390


def test_a_link_opens_its_section_and_a_filter_leaves_the_rows_with_its_words(opened):
    page, path = opened
    page.open(path)
    is_open = "document.querySelector('#confusion > details').open"
    assert page.js(is_open) is False
    page.click("document.querySelector('nav a[href=\"#confusion\"]')")
    page.js("dispatchEvent(new Event('hashchange'))")
    assert page.js(is_open) is True
    field = "document.querySelector('#table-tests + .filter input')"
    unfold(page)
    shown = (
        "[...document.querySelectorAll('table[aria-labelledby=table-tests] tbody tr')]"
        ".filter(row => row.getClientRects().length).map(row => row.textContent)"
    )
    every = page.js(shown)
    page.js(f"{field}.value = 'Chance eeg'; {field}.dispatchEvent(new Event('input'))")
    left = page.js(shown)
    assert 0 < len(left) < len(every)
    assert left == [text for text in every if "chance" in text and "eeg" in text.lower()]
    assert page.complaints() == []
