"""What a server process writes to stderr: always drained, its last lines kept, nothing secret shown."""

import json
import logging
import re
from collections import deque
from collections.abc import Iterable
from urllib.parse import quote

from fluidmcp.config.secret import Secret

logger = logging.getLogger(__name__)

MAX_TAIL_LINES = 20
MAX_LINE_CHARACTERS = 500
_MAX_KEPT_BYTES = 8 * 1024
"""What is kept of a line before it is cut; a secret that begins before the cut is then found whole."""
_MIN_DERIVED_CHARACTERS = 8
"""Parts and other spellings of a secret are looked for from this length on; the secret itself always."""

_ESCAPE_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])")
# C0, DEL, C1, line separators, and the marks that turn the direction of writing: none may shape a terminal or a log.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_MASK = "***"


class StderrTail:
    """Takes the bytes of stderr as they come; keeps the last 20 lines."""

    def __init__(self, package: str, secrets: Iterable[Secret]) -> None:
        self._package = package
        self._needles = _spellings(secrets)
        self._longest = max((len(needle.encode()) for needle in self._needles), default=0)
        self._max_kept = _MAX_KEPT_BYTES + self._longest
        self._lines: deque[tuple[bytes, bool]] = deque(maxlen=MAX_TAIL_LINES)
        self._partial = bytearray()
        self._is_cut = False
        self.reads = 0
        """How often something came: whoever looks twice sees whether anything has come in between."""

    def feed(self, data: bytes) -> None:
        self.reads += 1
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._add(line)
            self._end_line()
        self._add(rest)

    def end(self) -> None:
        """Nothing more comes; a last line without a newline counts."""
        if self._partial:
            self._end_line()

    def lines(self) -> tuple[str, ...]:
        """At most 20 lines of at most 500 characters, safe to show to whom the process belongs.

        The last one may still go on: what waits for an answer writes no newline behind its question.
        """
        ended = (self._clean(line, is_cut) for line, is_cut in self._lines)
        going_on = self._without_beginnings(self._clean(bytes(self._partial), self._is_cut))
        return tuple(text for text in (*ended, going_on) if text)[-MAX_TAIL_LINES:]

    def _add(self, data: bytes) -> None:
        room = self._max_kept - len(self._partial)
        if len(data) > room:
            self._is_cut = True
            data = data[:room]
        self._partial += data

    def _end_line(self) -> None:
        line = (bytes(self._partial), self._is_cut)
        self._partial.clear()
        self._is_cut = False
        if not line[0].strip():
            return
        # Cleaned when somebody looks: a server that floods stderr costs no more than the reading.
        self._lines.append(line)
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("%s: %s", self._package, self._clean(*line))

    def _clean(self, line: bytes, is_cut: bool) -> str:
        text = line.decode("utf-8", "replace").replace("\t", " ")
        text = _CONTROL.sub("", _ESCAPE_SEQUENCE.sub("", text))
        for needle in self._needles:
            text = text.replace(needle, _MASK)
        if is_cut and self._longest:
            # The end may hold the first part of a secret that goes on behind the cut.
            text = text[: max(0, len(text) - self._longest)]
        return text.rstrip()[:MAX_LINE_CHARACTERS]

    def _without_beginnings(self, text: str) -> str:
        """A line that goes on, without the first part of a secret at its end."""
        text = text.rstrip("\ufffd")  # half a character
        parts = (needle[:size] for needle in self._needles for size in range(1, len(needle)))
        known = max((len(part) for part in parts if text.endswith(part)), default=0)
        return text[: len(text) - known].rstrip()


def _spellings(secrets: Iterable[Secret]) -> tuple[str, ...]:
    """The secrets as they may turn up in a line, the longest first: whole, line by line, quoted for URLs and JSON."""
    found: set[str] = set()
    for secret in secrets:
        value = _CONTROL.sub("", secret.reveal()).strip()
        if value:
            found.add(value)
        derived = {quote(value), quote(value, safe=""), json.dumps(value)[1:-1], repr(value)[1:-1]}
        derived.update(_CONTROL.sub("", part).strip() for part in secret.reveal().splitlines())
        found.update(text for text in derived if len(text) >= _MIN_DERIVED_CHARACTERS)
    return tuple(sorted(found, key=len, reverse=True))
