"""Text of others in what people and programs read line by line: pure."""

from typing import Final

CUT: Final = "... (cut)"


def make_printable(text: str) -> str:
    """The text without what would steer a terminal or end a line: control characters become escapes."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def cut(text: str, most: int) -> str:
    """The first `most` characters, and a mark where there were more."""
    return text if len(text) <= most else text[:most] + CUT
