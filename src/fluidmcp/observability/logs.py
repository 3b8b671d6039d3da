"""Logging on stderr, with nothing secret in it.

Two forms: lines for people, and one JSON object a line for programs. In both, text that comes from elsewhere can
neither end a line nor begin another one, and is cut.
"""

import asyncio
import contextlib
import json
import logging
import re
import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Final, Literal, TextIO, TypeAlias

import msgspec

from fluidmcp.observability.printable import CUT, cut, make_printable

LogFormat: TypeAlias = Literal["text", "json"]
LOG_FORMATS: Final[tuple[LogFormat, ...]] = ("text", "json")

FORMAT: Final = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
QUOTED: Final = "\n  | "
"""What begins a further line of an event, in the form for people: a quoted line of a server, or of a traceback."""

MAX_MESSAGE_CHARACTERS: Final = 16_384
"""More than the 20 lines of 500 characters that are quoted of a server."""
MAX_TRACEBACK_CHARACTERS: Final = 16_384

EVENTS_WAIT_SECONDS: Final = 0.05
MAX_WAITING_EVENTS: Final = 200

WARN_SECONDS: Final = 60.0
"""How often, at most, the HTTP server warns of the same thing, of requests that are no HTTP for instance."""

OUTPUT: Final = "fluidmcp.cli"
"""The logger of what the commands print as warnings and errors."""

_PLAIN: Final = re.compile(r"[!#-<>-\[\]-~]+", re.ASCII)
"""Printable ASCII without space, quote, equals sign and backslash."""

_ExceptionInfo: TypeAlias = (
    tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
)  # as `logging` has it


class Event:
    """What a record says in fields. As its message it is `name=value` for people, and members of the object in JSON.

    Values are text, numbers or None, which is `-` for people. Text that holds more than plain words is quoted there, so
    that no value looks like another field. Texts are cut by whoever makes the event.
    """

    __slots__ = ("fields", "name")

    def __init__(self, name: str, fields: Mapping[str, str | int | float | None]) -> None:
        self.name = name
        self.fields = fields

    def __str__(self) -> str:
        return " ".join([f"{name}={_show_value(value)}" for name, value in self.fields.items()])


def configure_logging(level: str, log_format: LogFormat = "text") -> None:
    """Send all records to stderr. uvicorn's own access log stays off: it would print codes from query strings."""
    handler = _StderrHandler(JsonFormatter() if log_format == "json" else TextFormatter())
    handler.addFilter(_Seldom())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # Else they are lines on stderr that are no object.
    logging.captureWarnings(log_format == "json")
    # These two print request lines, addresses and headers of outbound calls at DEBUG: secrets among them.
    for name in ("httpx2", "httpcore2", "uvicorn.access"):
        logging.getLogger(name).setLevel(logging.WARNING)


def tell(level: int, text: str) -> bool:
    """Say in the log, at any level, what is printed elsewhere; False, and nothing said, where the log is for people."""
    if not any(isinstance(handler.formatter, JsonFormatter) for handler in logging.getLogger().handlers):
        return False
    logging.getLogger(OUTPUT).handle(logging.LogRecord(OUTPUT, level, "", 0, "%s", (text,), None))
    return True


class TextFormatter(logging.Formatter):
    """A line an event, for people; quoted lines and tracebacks are marked as part of the event before them."""

    def __init__(self) -> None:
        super().__init__(FORMAT)
        self._clock = _Clock("%Y-%m-%d %H:%M:%S", time.localtime)

    def write_event(self, logger: str, event: Event, at: float) -> str:
        """The line of an event, which is information. `at` is in seconds since the epoch."""
        second, milliseconds = self._clock.read(at)
        return f"{second},{milliseconds:03d} INFO    {logger}: {event}"

    def formatMessage(self, record: logging.LogRecord) -> str:
        text = cut(record.message, MAX_MESSAGE_CHARACTERS)
        record.message = QUOTED.join(map(make_printable, text.split(QUOTED)))
        if record.name == "uvicorn.error":
            # What uvicorn calls all that is no access log. Beside "Started server process" people read an error.
            record.name = "uvicorn"
        return super().formatMessage(record)

    def formatException(self, ei: _ExceptionInfo) -> str:
        return _mark(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:
        return _mark(stack_info)


class JsonFormatter(logging.Formatter):
    """One JSON object a line, in ASCII: `time` (RFC 3339, UTC), `level`, `logger`, `message`, and what else is known:
    `exception` with its traceback, or the fields of an `Event`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._clock = _Clock("%Y-%m-%dT%H:%M:%S", time.gmtime)

    def write_event(self, logger: str, event: Event, at: float) -> str:
        """As that of the other form."""
        told = {"time": self._write_time(at), "level": "info", "logger": logger, "message": event.name, **event.fields}
        with contextlib.suppress(UnicodeEncodeError):
            # A seventh of the time, and the same where all is plain.
            line = msgspec.json.encode(told)
            if line.isascii() and b"\x7f" not in line:
                return line.decode()
        return json.dumps(told)

    def format(self, record: logging.LogRecord) -> str:
        if isinstance(record.msg, Event):
            return self.write_event(record.name, record.msg, record.created)
        told: dict[str, object] = {
            "time": self._write_time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": cut(record.getMessage(), MAX_MESSAGE_CHARACTERS),
        }
        if record.exc_info:
            told["exception"] = _keep_end(self.formatException(record.exc_info))
        if record.stack_info:
            told["stack"] = _keep_end(record.stack_info)
        return json.dumps(told)

    def _write_time(self, at: float) -> str:
        second, milliseconds = self._clock.read(at)
        return f"{second}.{milliseconds:03d}Z"


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes records at once, and events together: a write for each would cost more than all the rest of them.

    The order stays. What waits is written at the latest when the process ends (`logging` flushes its handlers then).
    """

    def __init__(self, form: TextFormatter | JsonFormatter) -> None:
        super().__init__(sys.stderr)
        self.form = form
        self.setFormatter(form)
        self._waiting: list[str] = []
        assert self.lock is not None
        self._lines_lock = self.lock
        """The handler's own, without the call that `acquire` is: it is taken for each event."""

    def add_line(self, line: str) -> None:
        """To be called in the event loop."""
        with self._lines_lock:  # records of other threads take what waits
            self._waiting.append(line)
            count = len(self._waiting)
        if count == 1:
            asyncio.get_running_loop().call_later(EVENTS_WAIT_SECONDS, self.flush)
        elif count >= MAX_WAITING_EVENTS:
            self.flush()

    def emit(self, record: logging.LogRecord) -> None:
        self._write_waiting()
        super().emit(record)

    def flush(self) -> None:
        with self._lines_lock:
            self._write_waiting()
            super().flush()

    def _write_waiting(self) -> None:
        """To be called with the lock, as `emit` is."""
        if not self._waiting:
            return
        lines, self._waiting = self._waiting, []
        # Where nobody reads the log any more, or it is closed, there is nobody to tell.
        with contextlib.suppress(OSError, ValueError):
            self.stream.write("".join([f"{line}\n" for line in lines]))


class _Seldom(logging.Filter):
    """Lets a warning of the HTTP server pass once in WARN_SECONDS; the next one says how many did not.

    Its sentences are few, and its own.
    """

    def __init__(self) -> None:
        super().__init__()
        self._passed_at: dict[str, float] = {}
        self._held_back: dict[str, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name != "uvicorn.error" or record.levelno != logging.WARNING:
            return True
        sentence = str(record.msg)
        passed_at = self._passed_at.get(sentence)
        if passed_at is not None and 0 <= record.created - passed_at < WARN_SECONDS:
            self._held_back[sentence] = self._held_back.get(sentence, 0) + 1
            return False
        self._passed_at[sentence] = record.created
        if count := self._held_back.pop(sentence, 0):
            record.msg = f"{sentence} ({count} more since the last time)"
        return True


class EventLog:
    """Events of one logger, as information, whatever the level of the log: many of them, at little cost.

    What runs under another set-up of `logging` gets records.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._logger = logging.getLogger(name)
        self._handler: _StderrHandler | None = None

    def add(self, event: Event) -> None:
        """To be called in the event loop. The line is written within EVENTS_WAIT_SECONDS."""
        handler = self._handler or self._find_handler()
        if handler is None:
            self._logger.handle(logging.LogRecord(self._name, logging.INFO, "", 0, event, None, None))
        else:
            handler.add_line(handler.form.write_event(self._name, event, time.time()))

    def _find_handler(self) -> _StderrHandler | None:
        handlers = logging.getLogger().handlers
        if len(handlers) == 1 and isinstance(handlers[0], _StderrHandler) and not self._logger.handlers:
            self._handler = handlers[0]
        return self._handler


class _Clock:
    """Writes times; each second once."""

    def __init__(self, form: str, convert: Callable[[float], time.struct_time]) -> None:
        self._form = form
        self._convert = convert
        self._last = (-1, "")

    def read(self, at: float) -> tuple[str, int]:
        """The second of a time since the epoch as text, and its milliseconds."""
        second = int(at)
        known, written = self._last  # both at once: another thread may write a time as well
        if second != known:
            written = time.strftime(self._form, self._convert(second))
            self._last = (second, written)
        return written, int((at - second) * 1000)


def _mark(text: str) -> str:
    """Lines of an event behind its first one."""
    return "\n".join(f"  | {make_printable(line)}" for line in _keep_end(text).split("\n"))


def _keep_end(text: str) -> str:
    """What a traceback ends with says most."""
    return text if len(text) <= MAX_TRACEBACK_CHARACTERS else CUT + text[-MAX_TRACEBACK_CHARACTERS:]


def _show_value(value: str | int | float | None) -> str:
    if not isinstance(value, str):
        return "-" if value is None else str(value)
    return value if _PLAIN.fullmatch(value) and value != "-" else json.dumps(value)
