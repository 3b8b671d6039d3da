"""Links of Markdown files that lead nowhere: to a file that is not there, or to a heading that its page does not have.

Anchors are made as repository browsers make them out of headings.
"""

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

PARSER: Final = MarkdownIt("commonmark").enable("table")
OUTSIDE: Final = re.compile(r"[a-z][a-z0-9+.-]*:")


def find_dead_links(root: Path, pages: list[Path]) -> list[str]:
    """`page: target` of each dead link."""
    return [
        f"{page.relative_to(root)}: {target}"
        for page in pages
        for target in _list_targets(_parse(page))
        if not OUTSIDE.match(target) and not _is_there(root, page, target)
    ]


def _is_there(root: Path, page: Path, target: str) -> bool:
    path, _, anchor = unquote(target).partition("#")
    goal = (page.parent / path).resolve() if path else page
    if not goal.exists() or not goal.is_relative_to(root):
        return False
    return not anchor or (goal.suffix == ".md" and anchor in list_anchors(goal))


def list_anchors(page: Path) -> set[str]:
    tokens = _parse(page)
    anchors: set[str] = set()
    seen: Counter[str] = Counter()
    for opening, inline in zip(tokens, tokens[1:], strict=False):
        if opening.type == "heading_open":
            text = "".join(child.content for child in inline.children or () if child.type in ("text", "code_inline"))
            name = re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")
            anchors.add(f"{name}-{seen[name]}" if seen[name] else name)
            seen[name] += 1
    return anchors


def _list_targets(tokens: list[Token]) -> Iterator[str]:
    for token in tokens:
        for child in token.children or ():
            if child.type in ("link_open", "image"):
                yield str(child.attrs["href" if child.type == "link_open" else "src"])


@cache
def _parse(page: Path) -> list[Token]:
    return PARSER.parse(page.read_text(encoding="utf-8"))
