"""JSON with comments and trailing commas, as editors write it: blanked out, so that lines and columns stay right. Pure.

Not a parser of JSON5, which would also take single quotes and names without quotes: what is left must be JSON.
"""

import re
from typing import Final

_TOKEN: Final = re.compile(
    r'"(?:[^"\\\n]|\\.)*+"?|//[^\n]*|/\*.*?(?:\*/|\Z)|,(?=(?:\s|//[^\n]*+|(?>/\*.*?\*/))*+[\]}])', re.DOTALL
)
"""Strings are stepped over; comments and commas before a closing bracket go.

Nothing in it is tried twice: `/**//**//**/` can be read as comments in more ways than anybody can count.
"""
_MAY_TRAIL: Final = re.compile(r",\s*[\]}]")
_NO_VALUES: Final = ("", "{", "[", ",", ":")
"""Behind these no comma may stand, whatever follows it."""
_NOT_A_LINE_END: Final = re.compile(r"[^\n]")


def blank_comments(text: str) -> str:
    """The same text with spaces in place of comments, and of commas between a value and a closing bracket."""
    if "/" not in text and not _MAY_TRAIL.search(text):
        return text

    # The last character before the match that is neither space nor comment, and where the match before it ended.
    last, end = "", 0

    def blank(match: re.Match[str]) -> str:
        nonlocal last, end
        last = text[end : match.start()].rstrip()[-1:] or last
        end = match.end()
        found = match[0]
        if found[0] == '"' or (found == "," and last in _NO_VALUES):
            last = found[0]
            return found
        return _NOT_A_LINE_END.sub(" ", found)

    return _TOKEN.sub(blank, text)
