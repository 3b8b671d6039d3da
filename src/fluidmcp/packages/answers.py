"""What the operator answers to the inputs of a file: by a variable, at the terminal, or by the input's own default."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from fluidmcp.config.filling.expand import ExpansionError
from fluidmcp.config.reading import as_list
from fluidmcp.packages.formats.shapes import Input

INPUT_PREFIX: Final = "FMCP_INPUT_"

Ask = Callable[[Input], str]
"""Asks the person at the terminal."""


def name_variable(input_id: str) -> str:
    """The variable that answers an input: `FMCP_INPUT_` and its id in capitals, `_` for all but letters and digits."""
    return INPUT_PREFIX + re.sub(r"[^A-Z0-9]", "_", input_id.upper())


class Answers:
    """The answers to the inputs of one file; each is asked for once, and only where an entry wants it."""

    def __init__(self, inputs: Iterable[Input], environ: Mapping[str, str], ask: Ask | None) -> None:
        """`ask` is None where there is no terminal."""
        self._inputs = {item.id: item for item in inputs}
        self._environ = environ
        self._ask = ask
        self._given: dict[str, str] = {}

    def get(self, input_id: str) -> str:
        """The answer to an input; raises ExpansionError where there is none."""
        item = self._inputs.get(input_id)
        if item is None:
            raise ExpansionError(f"refers to the input {input_id[:60]}, which the file does not define")
        if input_id not in self._given:
            self._given[input_id] = self._find(item)
        return self._given[input_id]

    def get_several(self, input_id: str) -> list[str] | None:
        """The answers to an input of several values: a JSON list, or separated by commas; None for any other input."""
        item = self._inputs.get(input_id)
        return split_values(self.get(input_id)) if item is not None and item.is_multiple else None

    def is_secret(self, input_id: str) -> bool:
        item = self._inputs.get(input_id)
        return item is not None and item.is_secret

    def _find(self, item: Input) -> str:
        if item.refusal:
            raise ExpansionError(f"needs an input, but {item.refusal}; write the value, or ${{NAME}}, in its place")
        variable = name_variable(item.id)
        value = self._environ.get(variable)
        if value is None and self._ask is not None:
            value = self._ask(item)
        elif value is None:
            value = item.default
        if value is None and not item.is_required:
            return ""
        if value is None:
            raise ExpansionError(
                f"needs the input {item.id[:60]}; export {variable}=... before the start, or start fluidmcp at a "
                "terminal, where it asks"
            )
        if item.choices and value not in item.choices:
            raise ExpansionError(f"needs the input {item.id[:60]} to be one of {', '.join(item.choices)}")
        return value


def split_values(text: str) -> list[str]:
    """Several values out of one answer."""
    if text.lstrip().startswith("["):
        try:
            listed: object = json.loads(text)
        except ValueError:
            listed = None
        items = as_list(listed)
        if items is not None:
            return [str(item) for item in items]
    return [part.strip() for part in text.split(",") if part.strip()]
