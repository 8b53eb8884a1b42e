"""The pages hold what they promise: links lead somewhere, and what is generated is up to date."""

import re

import pytest
import yaml

from milmer.config_text import reference
from tests.conftest import REPOSITORY
from tools.make_commands import commands

PAGES = [
    *(
        REPOSITORY / name
        for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
    ),
    *sorted((REPOSITORY / "docs").glob("*.md")),
]


def anchors(page):
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text).strip().lower().replace(" ", "-") for text in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    inside = [link for link in links if not link.startswith("http")]
    for link in inside:
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_page_on_options_is_up_to_date():
    assert (REPOSITORY / "docs/options.md").read_text() == reference(), "run `make docs`"


def test_the_page_on_commands_is_up_to_date():
    assert (REPOSITORY / "docs/commands.md").read_text() == commands(), "run `make docs`"


def test_every_page_is_in_the_site_once():
    nav = yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text())["nav"]
    pages = [page for part in nav for entry in part.values() for page in leaves(entry)]
    own = {
        path.name for path in (REPOSITORY / "docs").iterdir() if path.suffix in (".md", ".ipynb")
    }
    root = {"index.md", "changelog.md", "contributing.md", "security.md", "third_party.md"}
    assert sorted(pages) == sorted(own | root)


def leaves(entry):
    """Pages of a part of the site's table of contents."""
    return [entry] if isinstance(entry, str) else [page for part in entry for page in part.values()]


def test_each_difference_that_is_an_option_links_to_it():
    table = PAGES[0].read_text().split("| published code |")[1].split("\n\n")[0]
    linked = {option for option in re.findall(r"docs/options\.md#(\w+)", table)}
    assert linked == {
        *("protocolsnames", "protocolsvalidation", "trainingselect", "eeglayout", "labelsties"),
        *("modelselection_gradient", "modelscorer", "modeltrain_cls", "modelchannel_embeddings"),
        "modellinear_path",
        *("modeleeg_encoder", "backbonefinetune", "facesdetector", "facesuse_borrowed_boxes"),
        *("eegartefacts", "faceschoice"),
    }


def test_each_quirk_of_the_data_names_a_test_that_is_there():
    section = (REPOSITORY / "docs/data.md").read_text().split("## Quirks")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")][2:]
    tests = "".join(path.read_text() for path in (REPOSITORY / "tests").rglob("test_*.py"))
    for row in rows:
        named = re.findall(r"`(test_\w+)`", row)
        assert named, row
        assert all(f"def {name}(" in tests for name in named), row


def test_what_milmer_check_can_tell_is_what_the_page_lists():
    page = (REPOSITORY / "docs/data.md").read_text()
    listed = page.split("`about` is one of:")[1].split("\n")[0]
    said = set(re.findall(r"`(\w+)`", listed))
    source = (REPOSITORY / "milmer/check").glob("*.py")
    code = "".join(path.read_text() for path in source)
    assert all(f'"{word}"' in code for word in said)


def test_what_the_page_on_parts_names_is_there():
    text = (REPOSITORY / "docs/extending.md").read_text()
    paths = re.findall(r"`((?:milmer|tests|workflow)/[\w/.]+)`", text)
    assert len(paths) > 20
    for path in paths:
        assert (REPOSITORY / path).exists() or "NAME" in path, f"docs/extending.md: {path}"
