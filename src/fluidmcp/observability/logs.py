"""Logging on stderr, with nothing secret in it.

Two forms: lines for people, and one JSON object a line for programs. In both, text that comes from elsewhere can
neither end a line nor begin another one, and is cut.
"""

import json
import logging
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Final, Literal, TypeAlias

from fluidmcp.observability.printable import CUT, cut, make_printable

LogFormat: TypeAlias = Literal["text", "json"]
LOG_FORMATS: Final[tuple[LogFormat, ...]] = ("text", "json")

FORMAT: Final = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
QUOTED: Final = "\n  | "
"""What begins a further line of an event, in the form for people: a quoted line of a server, or of a traceback."""

MAX_MESSAGE_CHARACTERS: Final = 16_384
"""More than the 20 lines of 500 characters that are quoted of a server."""
MAX_TRACEBACK_CHARACTERS: Final = 16_384

OUTPUT: Final = "fluidmcp.cli"
"""The logger of what the commands print as warnings and errors."""

_ExceptionInfo: TypeAlias = (
    tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
)  # as `logging` has it


class Event:
    """What a record says in fields. As its message it is `name=value` for people, and members of the object in JSON.

    Values are text, numbers or None, which is `-` for people. Text that holds more than plain words is quoted there, so
    that no value looks like another field.
    """

    __slots__ = ("fields", "name")

    def __init__(self, name: str, fields: Mapping[str, str | int | float | None]) -> None:
        self.name = name
        self.fields = fields

    def __str__(self) -> str:
        return " ".join(f"{name}={_show_value(value)}" for name, value in self.fields.items())


def configure_logging(level: str, log_format: LogFormat = "text") -> None:
    """Send all records to stderr. uvicorn's own access log stays off: it would print codes from query strings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter(FORMAT))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # Else they are lines on stderr that are no object.
    logging.captureWarnings(log_format == "json")
    # These two print request lines, addresses and headers of outbound calls at DEBUG: secrets among them.
    for name in ("httpx2", "httpcore2", "uvicorn.access"):
        logging.getLogger(name).setLevel(logging.WARNING)


def tell(level: int, text: str) -> bool:
    """Say in the log what is printed elsewhere; False, and nothing said, where the log is for people."""
    if not any(isinstance(handler.formatter, JsonFormatter) for handler in logging.getLogger().handlers):
        return False
    logging.getLogger(OUTPUT).log(level, "%s", text)
    return True


class TextFormatter(logging.Formatter):
    """A line an event, for people; quoted lines and tracebacks are marked as part of the event before them."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        text = cut(record.message, MAX_MESSAGE_CHARACTERS)
        record.message = QUOTED.join(map(make_printable, text.split(QUOTED)))
        return super().formatMessage(record)

    def formatException(self, ei: _ExceptionInfo) -> str:
        lines = _keep_end(super().formatException(ei)).split("\n")
        return "\n".join(f"  | {make_printable(line)}" for line in lines)

    def formatStack(self, stack_info: str) -> str:
        return "\n".join(f"  | {make_printable(line)}" for line in _keep_end(stack_info).split("\n"))


class JsonFormatter(logging.Formatter):
    """One JSON object a line, in ASCII: `time` (RFC 3339, UTC), `level`, `logger`, `message`, and what else is known:
    `exception` with its traceback, or the fields of an `Event`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._second = -1
        self._day_and_time = ""

    def format(self, record: logging.LogRecord) -> str:
        event = record.msg if isinstance(record.msg, Event) else None
        told: dict[str, object] = {
            "time": self._write_time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": cut(record.getMessage() if event is None else event.name, MAX_MESSAGE_CHARACTERS),
        }
        if event is not None:
            told.update(event.fields)
        if record.exc_info:
            told["exception"] = _keep_end(self.formatException(record.exc_info))
        if record.stack_info:
            told["stack"] = _keep_end(record.stack_info)
        return json.dumps(told)

    def _write_time(self, at: float) -> str:
        second = int(at)
        if second != self._second:
            self._second = second
            self._day_and_time = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._day_and_time}.{int((at - second) * 1000):03d}Z"


def _keep_end(text: str) -> str:
    """What a traceback ends with says most."""
    return text if len(text) <= MAX_TRACEBACK_CHARACTERS else CUT + text[-MAX_TRACEBACK_CHARACTERS:]


def _show_value(value: str | int | float | None) -> str:
    if not isinstance(value, str):
        return "-" if value is None else str(value)
    is_plain = value.isascii() and value.isprintable() and not any(char in value for char in ' ="\\')
    return value if is_plain and value not in ("", "-") else json.dumps(value)
