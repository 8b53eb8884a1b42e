"""The Markdown of the conclusions as HTML (CommonMark, by markdown-it-py)."""

from markdown_it import MarkdownIt
from markupsafe import Markup

_PARSER = MarkdownIt("commonmark", {"html": False}).disable(["image", "html_block", "html_inline"])
_PARSER.add_render_rule("softbreak", lambda *_: " ")


def inline(markdown: str) -> Markup:
    """A sentence of Markdown as HTML, without a paragraph around it."""
    return Markup(_PARSER.renderInline(markdown))


def html(markdown: str) -> Markup:
    """Markdown as HTML. HTML in it is escaped, and its headings rank below those of sections."""
    tokens = _PARSER.parse(markdown)
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = "h3"
    return Markup(_PARSER.renderer.render(tokens, _PARSER.options, {}))
