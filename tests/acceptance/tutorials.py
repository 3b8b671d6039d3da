"""The steps of a tutorial (docs/tutorials), read out of it: what is typed, and what comes of it."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).resolve().parents[2] / "docs" / "tutorials"
BLOCK: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Step:
    """One line that is typed. `shown` is the text below it, where the page shows one."""

    line: str
    shown: str | None = None

    @property
    def words(self) -> list[str]:
        """The words of the line, without `fluidmcp`."""
        program, *words = shlex.split(self.line, comments=True)
        assert program == "fluidmcp", self.line
        return words


class Tutorial:
    """A page, whose steps are taken one after the other; a test takes all of them."""

    def __init__(self, name: str) -> None:
        self.text = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
        self._steps: list[Step] = []
        for language, block in BLOCK.findall(self.text):
            if language == "bash":
                self._steps += [Step(line) for line in block.splitlines()]
            elif language == "text":
                self._steps[-1] = Step(self._steps[-1].line, block)

    def take(self, word: str) -> Step:
        """The next step; it holds `word`."""
        step = self._steps.pop(0)
        assert word in step.line, f"{word!r} is not in the next step, {step.line!r}"
        return step

    def assert_all_taken(self) -> None:
        assert self._steps == []

    def find_block(self, language: str) -> str:
        (block,) = [text for found, text in BLOCK.findall(self.text) if found == language]
        return block


def mask(text: str) -> str:
    """The text without what differs from day to day."""
    text = re.sub(r"\d+", "N", re.sub(r"true|false", "BOOL", text))
    return re.sub(r"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day", "DAY", text)
