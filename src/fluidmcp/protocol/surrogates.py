r"""Lone surrogates: escapes such as "\ud83d" that pair with nothing. Pure module: no I/O, no clock.

JavaScript writes them when it cuts a text in the middle of a character. JSON allows them (RFC 8259, section 8.2), and
the decoder refuses them. So they are marked while a text is decoded, and get their own bytes back in every part of it.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from msgspec import Raw

MAX_LONE_SURROGATES: Final = 100_000
"""Marked in one text; a text with more of them does not decode."""

_NEXT_LONE: Final = re.compile(
    rb"((?:[^\\]++|\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|\\(?!u[dD][89a-fA-F][0-9a-fA-F]{2})[^\\]?+)*+)(?:\\u([dD][89a-fA-F][0-9a-fA-F]{2}))?+"
)
"""What lies before a lone surrogate, and its four digits. Without one it matches the whole rest of the text."""


@dataclass(frozen=True, slots=True)
class MarkedText:
    r"""A text in which each lone surrogate's `\u` is `mark`, which occurs nowhere else in the text."""

    text: bytes
    mark: bytes

    def restore(self, part: Raw) -> Raw:
        """A part of `text` as it was before."""
        return Raw(bytes(part).replace(self.mark, b"\\u"))

    def restore_name(self, name: str) -> str:
        """A decoded string of `text`, with the surrogates in it."""
        mark = self.mark.decode()
        if mark not in name:
            return name
        return re.sub(mark + "([0-9a-fA-F]{4})", lambda digits: chr(int(digits[1], 16)), name)


def mark_lone_surrogates(text: bytes) -> MarkedText | None:
    """None where the text holds none."""
    if b"\\ud" not in text and b"\\uD" not in text:
        return None
    # Nobody can write a text that holds the digest of itself.
    mark = b"<%b>" % hashlib.sha256(text).hexdigest()[:32].encode()
    count = 0

    def replace(match: re.Match[bytes]) -> bytes:
        nonlocal count
        if match[2] is None:
            return match[0]
        count += 1
        return b"".join((match[1], mark, match[2]))

    marked = _NEXT_LONE.sub(replace, text, count=MAX_LONE_SURROGATES)
    return MarkedText(marked, mark) if count else None
