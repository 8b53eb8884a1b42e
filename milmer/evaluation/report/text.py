"""Markdown as it is written for the conclusions: headings, paragraphs, lists, tables' text, bold,
code and links. All else is text; HTML is escaped.
"""

import re

from markupsafe import Markup, escape

_HEADING = re.compile(r"(#+) +(.*)")
_ITEM = re.compile(r"\s*[*-] +(.*)")


def html(markdown: str) -> Markup:
    """Markdown as HTML; its headings go below a section's own."""
    parts: list[str] = []
    for block in re.split(r"\n\s*\n", markdown.strip()):
        lines: list[str] = []
        for line in block.splitlines():
            if heading := _HEADING.fullmatch(line):
                parts += [*_flow(lines), f"<h3>{_words(heading[2])}</h3>"]
                lines = []
            else:
                lines.append(line)
        parts += _flow(lines)
    return Markup("\n".join(parts))


def _flow(lines: list[str]) -> list[str]:
    """A list where lines are items, else a paragraph; a line without a mark goes on."""
    if not lines:
        return []
    if not _ITEM.fullmatch(lines[0]):
        return [f"<p>{_words(' '.join(lines))}</p>"]
    items: list[str] = []
    for line in lines:
        if item := _ITEM.fullmatch(line):
            items.append(item[1])
        else:
            items[-1] += f" {line.strip()}"
    return [f"<ul>{''.join(f'<li>{_words(item)}</li>' for item in items)}</ul>"]


def _words(text: str) -> str:
    made = str(escape(text))
    made = re.sub(r"`([^`]+)`", r"<code>\1</code>", made)
    made = re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", made)
    return re.sub(r"\[([^\]]+)\]\((https?://[^\s)]+)\)", r'<a href="\2">\1</a>', made)
