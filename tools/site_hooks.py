"""Hooks of MkDocs: pages at the repository's root join those of docs/, and files they link to.

On GitHub, links in README.md begin with ``docs/``, and pages of docs/ link to files of the
repository by ``../``. Here both are turned into links of the site.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
PAGES = {"README.md": "index.md"} | {
    f"{name}.md": f"{name.lower()}.md"
    for name in ("CHANGELOG", "CONTRIBUTING", "SECURITY", "THIRD_PARTY")
}
"""Pages at the root, and what they are called in the site."""
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)\s#]+)")  # the path of a link that stays here


def targets(page: Path) -> list[str]:
    """Paths, relative to the repository, of the files that a page links to."""
    folder = page.parent.relative_to(ROOT).as_posix()
    return [posixpath.normpath(f"{folder}/{link}") for link in LINK.findall(page.read_text())]


def site_path(path: str) -> str:
    """Where a file of the repository is in the site."""
    return PAGES.get(path) or (path[5:] if path.startswith("docs/") else f"repository/{path}")


def site_text(page: Path) -> str:
    """Text of a page, with links that lead to the files' places in the site."""
    paths = iter(targets(page))
    return LINK.sub(lambda _: site_path(next(paths)), page.read_text())


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages at the root, and a copy of each other file that a page links to."""
    for name, place in PAGES.items():
        files.append(File.generated(config, place, content=site_text(ROOT / name)))
    for page in (*(ROOT / name for name in PAGES), *(ROOT / "docs").glob("*.md")):
        for path in targets(page):
            place = site_path(path)
            if place.startswith("repository/") and not files.get_file_from_path(place):
                content = (ROOT / path).read_bytes()
                files.append(File.generated(config, place, content=content))
    return files


def on_page_read_source(page: Page, *, config: MkDocsConfig) -> str | None:
    """Lead the links of a page of docs/ to their places in the site."""
    path = ROOT / "docs" / page.file.src_uri
    return site_text(path) if path.suffix == ".md" and path.is_file() else None


def on_page_content(html: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Show a Sphinx role of a docstring, such as ``:func:`~milmer.storage.digest```, as code."""
    role = r":(?:class|func|meth|mod):<code>~?([\w.]+)</code>"
    return re.sub(role, lambda m: f"<code>{m[1].rpartition('.')[2]}</code>", html)
