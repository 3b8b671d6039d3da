"""Answers to the inputs of a file: are they good, and what becomes of those that are several values. Pure."""

import json
import re
from typing import Final, cast

from fluidmcp.packages.formats.shapes import Input

_NUMBER: Final = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)


def check_answer(asked: Input, text: str) -> str:
    """Why `text`, one value, is not accepted, as the end of a sentence that begins with the input; empty: it is."""
    if "\0" in text:
        return "holds a NUL character"
    if asked.choices and text not in asked.choices:
        return f"must be one of {', '.join(asked.choices)}"
    if asked.is_number:
        number = float(text) if _NUMBER.fullmatch(text) else None
        if number is None:
            return "must be a number"
        if asked.minimum is not None and number < asked.minimum:
            return f"must be at least {asked.minimum:g}"
        if asked.maximum is not None and number > asked.maximum:
            return f"must be at most {asked.maximum:g}"
    return ""


def make_example(asked: Input, text: str) -> str:
    """An answer that is accepted, for a look at what else may be wrong; `text` where any text would do."""
    if asked.choices:
        return asked.choices[0]
    if asked.is_number:
        return f"{asked.minimum if asked.minimum is not None else min(0, asked.maximum or 0):g}"
    return text


def split_answer(asked: Input, text: str) -> tuple[str, ...]:
    """The values of an answer: of an input that may be several, a JSON list of strings, or a line for each."""
    if not asked.is_multiple:
        return (text,)
    if text.lstrip().startswith("["):
        try:
            listed: object = json.loads(text)
        except (ValueError, RecursionError):
            listed = None
        if isinstance(listed, list) and all(isinstance(item, str) for item in cast("list[object]", listed)):
            return tuple(cast("list[str]", listed))
    return tuple(line for line in text.splitlines() if line.strip())
