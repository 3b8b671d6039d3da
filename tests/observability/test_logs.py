"""What a line of the log looks like, whatever is in it: in both forms an event ends its line itself."""

import asyncio
import io
import json
import logging
import sys
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest

from fluidmcp.observability.logs import (
    MAX_MESSAGE_CHARACTERS,
    MAX_WAITING_EVENTS,
    Event,
    EventLog,
    JsonFormatter,
    LogFormat,
    TextFormatter,
    configure_logging,
    tell,
)
from fluidmcp.observability.printable import CUT, make_printable

HOSTILE = 'ada\n2026-01-01 00:00:00,000 INFO    fluidmcp: forged\r\x1b[31m\x85\u2028\u202e"<img src=x>\x00'
FORMATTERS = pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()], ids=["text", "json"])


def record(text: object, *arguments: object, level: int = logging.WARNING, **more: Any) -> logging.LogRecord:
    made = logging.LogRecord("fluidmcp.x", level, "", 0, text, arguments, more.get("exc_info"))
    made.created, made.msecs = 1_790_000_000.25, 250
    return made


def fail(text: str) -> Any:
    try:
        raise ValueError(text)
    except ValueError:
        return sys.exc_info()


@FORMATTERS
@pytest.mark.threat("E18")
def test_a_hostile_name_stays_in_its_line(formatter: logging.Formatter) -> None:
    line = formatter.format(record("start of %s failed", HOSTILE))
    assert line.isprintable(), line
    assert len(line.splitlines()) == 1
    assert "forged" in line


@FORMATTERS
@pytest.mark.threat("E18")
def test_a_megabyte_is_cut(formatter: logging.Formatter) -> None:
    line = formatter.format(record("start of %s failed", "\n" * 1_000_000))
    assert len(line) < 5 * MAX_MESSAGE_CHARACTERS
    assert CUT in line


@pytest.mark.threat("E18")
def test_for_people_quoted_lines_and_tracebacks_are_marked_as_such() -> None:
    formatter = TextFormatter()
    quoted = formatter.format(record("it failed: %s", "\n  | one\n  | two\nthree")).split("\n")
    assert quoted[0].endswith(" WARNING fluidmcp.x: it failed: ")
    assert quoted[1:] == ["  | one", "  | two\\nthree"]
    first, *others = formatter.format(record("broken", exc_info=fail(HOSTILE))).split("\n")
    assert first.endswith(" WARNING fluidmcp.x: broken")
    assert others[0] == "  | Traceback (most recent call last):"
    assert all(line.startswith("  | ") and line.isprintable() for line in others)


def test_an_object_says_when_how_bad_whose_and_what() -> None:
    told = json.loads(JsonFormatter().format(record("%s, %d", "Grüße\n", 3)))
    assert told == {
        "time": "2026-09-21T14:13:20.250Z",
        "level": "warning",
        "logger": "fluidmcp.x",
        "message": "Grüße\n, 3",
    }
    assert datetime.fromisoformat(told["time"]).timestamp() == 1_790_000_000.25


@pytest.mark.parametrize("kind", [TextFormatter, JsonFormatter])
def test_a_time_is_whole_though_another_thread_writes_one(
    kind: type[TextFormatter] | type[JsonFormatter], monkeypatch: pytest.MonkeyPatch
) -> None:
    formatter, write, meanwhile = kind(), time.strftime, list[str]()

    def interrupted(form: str, at: time.struct_time) -> str:
        monkeypatch.setattr(time, "strftime", write)
        meanwhile.append(formatter.write_event("fluidmcp.x", Event("call", {}), 1_790_000_000.25))
        return write(form, at)

    monkeypatch.setattr(time, "strftime", interrupted)
    line = formatter.write_event("fluidmcp.x", Event("call", {}), 1_790_000_000.25)
    assert meanwhile == [line]


def test_an_object_holds_the_traceback() -> None:
    line = JsonFormatter().format(record("broken", exc_info=fail(HOSTILE)))
    told = json.loads(line)
    assert line.isprintable()
    assert told["message"] == "broken"
    assert told["exception"].startswith("Traceback (most recent call last):\n")
    assert "ValueError: ada\n2026" in told["exception"]


def test_a_long_traceback_keeps_its_end() -> None:
    told = json.loads(JsonFormatter().format(record("broken", exc_info=fail("x" * 1_000_000 + "the end"))))
    assert told["exception"].startswith(CUT)
    assert told["exception"].endswith("xthe end")
    assert len(told["exception"]) < 20_000


@pytest.mark.threat("E18")
def test_an_event_has_its_fields_in_both_forms_and_no_value_looks_like_a_field() -> None:
    fields = {"package": "a b", "method": HOSTILE, "status": 200, "person": None, "id": "x person=ada", "plain": "a/b"}
    event = Event("call", {**fields, "dash": "-"})
    told = json.loads(JsonFormatter().format(record(event)))
    assert told["message"] == "call"
    assert {name: told[name] for name in fields} == fields
    line = TextFormatter().format(record(event)).partition("fluidmcp.x: ")[2]
    assert line.isprintable()
    assert line.startswith('package="a b" method="ada\\n2026')
    assert line.endswith(' status=200 person=- id="x person=ada" plain=a/b dash="-"')


@contextmanager
def configured(
    log_format: LogFormat, monkeypatch: pytest.MonkeyPatch, written: io.StringIO | None = None
) -> Generator[io.StringIO]:
    """The log as a command sets it up, and what it writes."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    written = io.StringIO() if written is None else written
    monkeypatch.setattr(sys, "stderr", written)
    root.handlers = []
    try:
        configure_logging("info", log_format)
        yield written
    finally:
        logging.captureWarnings(False)
        root.handlers = before
        root.setLevel(level)


async def test_events_wait_for_others_and_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    def read() -> list[str]:
        return [json.loads(line)["message"] for line in written.getvalue().splitlines()]

    with configured("json", monkeypatch) as written:
        events = EventLog("fluidmcp.x")
        events.add(Event("1", {}))
        events.add(Event("2", {}))
        assert read() == []
        logging.getLogger("fluidmcp.x").warning("3")
        assert read() == ["1", "2", "3"]
        events.add(Event("4", {}))
        async with asyncio.timeout(20):
            while len(read()) < 4:
                await asyncio.sleep(0)
        for number in range(MAX_WAITING_EVENTS + 1):
            events.add(Event(f"{number + 5}", {}))
        assert len(read()) == 4 + MAX_WAITING_EVENTS
        # As at the end of the process.
        logging.getLogger().handlers[0].flush()
        assert read() == [str(number + 1) for number in range(5 + MAX_WAITING_EVENTS)]


class WatchedStream(io.StringIO):
    """Notes with each write whether another thread could write to the log meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.was_free: list[bool] = []

    def write(self, s: str) -> int:
        def try_lock() -> bool:
            lock = logging.getLogger().handlers[0].lock
            assert lock is not None
            is_free = lock.acquire(blocking=False)
            if is_free:
                lock.release()
            return is_free

        with ThreadPoolExecutor(1) as other:
            self.was_free.append(other.submit(try_lock).result(timeout=20))
        return super().write(s)


async def test_no_other_thread_writes_while_events_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its line would stand before events that were earlier, or in the midst of them."""
    written = WatchedStream()
    with configured("json", monkeypatch, written):
        events = EventLog("fluidmcp.x")
        for _ in range(MAX_WAITING_EVENTS + 1):  # the last one is left to the flush
            events.add(Event("many", {}))
        logging.getLogger().handlers[0].flush()
        events.add(Event("before a record", {}))
        logging.getLogger("fluidmcp.x").warning("a record")
        assert written.was_free == [False] * 4
    assert len(written.getvalue().splitlines()) == MAX_WAITING_EVENTS + 3


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_every_line_of_every_logger_has_the_form(log_format: LogFormat, monkeypatch: pytest.MonkeyPatch) -> None:
    with configured(log_format, monkeypatch) as written:
        logging.getLogger("uvicorn.error").error("Invalid HTTP request received.")
        logging.getLogger("fluidmcp.x").debug("below")
        is_told = tell(logging.ERROR, "no such file\n  | Do: look")
    lines = written.getvalue().splitlines()
    if log_format == "text":
        assert not is_told
        assert [line.partition(" ERROR")[2] for line in lines] == ["   uvicorn: Invalid HTTP request received."]
        return
    assert is_told
    assert [(told["level"], told["logger"], told["message"]) for told in map(json.loads, lines)] == [
        ("error", "uvicorn.error", "Invalid HTTP request received."),
        ("error", "fluidmcp.cli", "no such file\n  | Do: look"),
    ]


def test_a_stranger_can_have_the_http_server_warn_of_them_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    def warn(name: str, sentence: str, at: float, level: int = logging.WARNING) -> None:
        record = logging.LogRecord(name, level, "", 0, sentence, None, None)
        record.created = at
        logging.getLogger(name).handle(record)

    with configured("json", monkeypatch) as written:
        for at in (1000.0, 1059.9, 1060.0, 1060.0, 500.0):  # the last: somebody has set the clock
            for _ in range(3):
                warn("uvicorn.error", "Invalid HTTP request received.", at)
        warn("uvicorn.error", "Unsupported upgrade request.", 1000.0)
        for _ in range(2):
            warn("uvicorn.error", "Exception in ASGI application", 1000.0, logging.ERROR)
            warn("fluidmcp.x", "ours", 1000.0)
    assert [json.loads(line)["message"] for line in written.getvalue().splitlines()] == [
        "Invalid HTTP request received.",
        *["Invalid HTTP request received. (5 more since the last time)"] * 2,
        "Unsupported upgrade request.",
        *["Exception in ASGI application", "ours"] * 2,
    ]


def test_an_error_that_ends_a_command_is_told_at_every_level(monkeypatch: pytest.MonkeyPatch) -> None:
    with configured("json", monkeypatch) as written:
        logging.getLogger().setLevel(logging.CRITICAL)
        assert tell(logging.ERROR, "no such file")
    assert json.loads(written.getvalue())["message"] == "no such file"


def test_what_can_be_printed_stays() -> None:
    assert make_printable("Grüße, 世界") == "Grüße, 世界"
    assert make_printable("\t\ud800") == "\\t\\ud800"
