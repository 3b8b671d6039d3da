"""What the operator answers to the inputs of a file: by a variable, at the terminal, or by the input's own default."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final

from fluidmcp.config.filling.expand import ExpansionError
from fluidmcp.packages.formats.answers import check_answer, split_answer
from fluidmcp.packages.formats.shapes import Input

INPUT_PREFIX: Final = "FMCP_INPUT_"

Ask = Callable[[Input], str]
"""Asks the person at the terminal."""


def name_variable(input_id: str) -> str:
    """The variable that answers an input: `FMCP_INPUT_` and its id in capitals, `_` for all but letters and digits."""
    return INPUT_PREFIX + re.sub(r"[^A-Z0-9]", "_", input_id.upper())


class Answers:
    """The answers to the inputs of one file; each is asked for once, and only where an entry wants it."""

    def __init__(
        self,
        inputs: Iterable[Input],
        environ: Mapping[str, str],
        ask: Ask | None,
        *,
        folders: Mapping[str, str] | None = None,
    ) -> None:
        """`ask` is None where there is no terminal. `folders`: what a default may name, `${userHome}` say."""
        self._inputs = {item.id: item for item in inputs}
        self._environ = environ
        self._ask = ask
        self._folders = folders or {}
        self._given: dict[str, str | None] = {}

    def get(self, input_id: str) -> str:
        """The answer to an input, empty where there is none and need not be.

        Raises:
            ExpansionError: the file does not define it, or nobody has answered it well.
        """
        return self._answer(input_id) or ""

    def get_several(self, input_id: str) -> list[str] | None:
        """The answers to an input of several values, or to one that nobody answered; None for any other."""
        answer = self._answer(input_id)
        if answer is None:
            return []
        item = self._inputs[input_id]
        return list(split_answer(item, answer)) if item.is_multiple else None

    def is_secret(self, input_id: str) -> bool:
        item = self._inputs.get(input_id)
        return item is not None and item.is_secret

    def _answer(self, input_id: str) -> str | None:
        item = self._inputs.get(input_id)
        if item is None:
            raise ExpansionError(f"refers to the input {input_id[:60]}, which the file does not define")
        if input_id not in self._given:
            self._given[input_id] = self._find(item)
        return self._given[input_id]

    def _find(self, item: Input) -> str | None:
        name, variable = item.id[:60], name_variable(item.id)
        if item.refusal:
            raise ExpansionError(f"needs an input, but {item.refusal}; write the value, or ${{NAME}}, in its place")
        value = self._environ.get(variable)
        if value is None and self._ask is not None:
            value = self._ask(replace(item, default=self._fill_default(item)))
        elif value is None:
            value = self._fill_default(item)
        if value is None or (not value and not item.is_required):
            if not item.is_required:
                return None
            raise ExpansionError(
                f"needs the input {name}; export {variable}=... before the start, or start fluidmcp at a "
                "terminal, where it asks"
            )
        for part in split_answer(item, value):
            wrong = check_answer(item, part)
            if wrong:
                raise ExpansionError(f"needs the input {name} ({variable}), which {wrong}")
        return value

    def _fill_default(self, item: Input) -> str | None:
        value = item.default
        for name, folder in self._folders.items():
            if value is None or name not in value:
                continue
            if not folder:
                raise ExpansionError(f"needs the input {item.id[:60]}, whose default is in {name}, and there is none")
            value = value.replace(name, folder)
        return value
