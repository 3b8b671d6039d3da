"""The table of servers that come up, drawn in place on a terminal; what is printed meanwhile, logs too, is above it.

What is drawn steers nothing: control characters are escapes, and so is what the encoding of the terminal lacks.
"""

import asyncio
import contextlib
import io
import logging
import sys
from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Final, TextIO, cast

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fluidmcp.cli.output import make_encodable
from fluidmcp.cli.serving.checks import CheckResult
from fluidmcp.cli.serving.progress import Mood, ServerRow
from fluidmcp.cli.serving.slow_starts import StartObserver
from fluidmcp.config.entries import MAX_NAME_CHARACTERS, ServerEntry
from fluidmcp.observability.printable import cut, make_printable

LOOK_SECONDS: Final = 0.5
DRAW_SECONDS: Final = 0.1
"""Between two drawings, however many servers change: the same loop serves requests."""
_HEADER: Final = ("PACKAGE", "STATE", "TOOLS", "ADDRESS")
_STATE_WIDTH: Final = 24
"""Of `ready, waits for a login`. Longer states go on in the next line."""
_SPARE_LINES: Final = 4
"""What of the screen is left to others while the table changes: its header, the line of the cursor, and two more."""
_GAP: Final = "  "
_STYLES: Final[dict[Mood, str]] = {"busy": "", "good": "green", "unsure": "yellow", "bad": "red"}


class LiveTable:
    """A row for each server. `rows` are all of them, in their order; those of `entries` start."""

    def __init__(
        self,
        gateway: StartObserver,
        entries: Iterable[ServerEntry],
        missing: Mapping[str, Sequence[str]],
        rows: Sequence[ServerRow],
    ) -> None:
        self._gateway = gateway
        self._entries = {entry.name: entry for entry in entries}
        self._missing = missing
        self._rows = {row.name: row for row in rows}
        self._width = _measure(rows)
        self._drawn: list[ServerRow] = []
        self._drawing: asyncio.TimerHandle | None = None
        self._console = Console(highlight=False, emoji=False, markup=False, soft_wrap=True)
        self._live = Live(
            console=self._console, auto_refresh=False, redirect_stderr=sys.stderr.isatty(), vertical_overflow="crop"
        )

    @contextlib.contextmanager
    def drawn(self) -> Generator["LiveTable"]:
        """On the screen from here on; all rows of it stay when the block ends."""
        # Log handlers know stderr as it was, and would write into the table.
        stderr, stdout = sys.stderr, sys.stdout
        handlers = [each for each in logging.getLogger().handlers if getattr(each, "stream", None) is stderr]
        # What is printed and logged meanwhile comes here too: a letter that the encoding lacks would end the gateway.
        errors = _set_errors(stdout, "backslashreplace")
        try:
            with contextlib.suppress(OSError):
                self._live.start()
            _move(handlers, sys.stderr)
            self._draw()
            yield self
        finally:
            if self._drawing is not None:
                self._drawing.cancel()
            _move(handlers, stderr)
            with contextlib.suppress(OSError):  # the terminal is gone
                self._live.update(self._build_last(list(self._rows.values())))
                self._live.stop()
            _set_errors(stdout, errors)

    async def follow(self, name: str) -> None:
        while True:
            self._rows[name] = self._rows[name].move(self._gateway.describe_start(name))
            self._draw_soon()
            await asyncio.sleep(LOOK_SECONDS)

    def end(self, result: CheckResult) -> None:
        name = result.name
        self._rows[name] = self._rows[name].end(result, self._entries[name], self._missing[name])
        self._draw_soon()

    def _draw_soon(self) -> None:
        if self._drawing is None:
            self._drawing = asyncio.get_running_loop().call_later(DRAW_SECONDS, self._draw)

    def _draw(self) -> None:
        """Draw what has changed; where there is no room for all rows, those that are under way come first."""
        self._drawing = None
        rows = list(self._rows.values())
        room = max(1, self._console.height - _SPARE_LINES)
        if len(rows) > room:
            rows = sorted(rows, key=lambda row: row.mood != "busy")[:room]
        if rows == self._drawn:
            return
        self._drawn = rows
        with contextlib.suppress(OSError):
            self._live.update(self._build(rows, more=len(self._rows) - len(rows)), refresh=True)

    def _build_last(self, rows: Sequence[ServerRow]) -> Table | Group:
        """What stays. An address is one line, to be copied: below the table where there is no room in it."""
        table = self._build(rows)
        addresses = [Text(self._clean(row.address), overflow="fold") for row in rows if row.address]
        return table if self._is_wide_enough() or not addresses else Group(table, Text(), *addresses)

    def _is_wide_enough(self) -> bool:
        return self._width <= self._console.width

    def _build(self, rows: Sequence[ServerRow], *, more: int = 0) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, len(_GAP), 0, 0), header_style="")
        header = _HEADER if self._is_wide_enough() else _HEADER[:-1]
        for title in header:
            table.add_column(title, overflow="fold", no_wrap=title != "STATE")
        for row in rows:
            name, state, address = map(self._clean, (cut(row.name, MAX_NAME_CHARACTERS), row.state, row.address))
            cells = (Text(name), Text(state, _STYLES[row.mood]), Text(row.tools), Text(address))
            table.add_row(*cells[: len(header)])
        if more:
            table.caption = Text(f"and {more} more")
            table.caption_justify = "left"
        return table

    def _clean(self, text: str) -> str:
        # Not for sys.stdout, in whose place is one of rich's own while the table is drawn: it tells no encoding.
        return make_encodable(make_printable(text), cast(TextIO, self._console.file))


def _measure(rows: Sequence[ServerRow]) -> int:
    """What a table with addresses needs, before anything has started: nothing moves meanwhile."""
    name = max((min(len(row.name), MAX_NAME_CHARACTERS) for row in rows), default=0)
    address = max((len(row.address) for row in rows), default=0)
    return name + _STATE_WIDTH + len("TOOLS") + address + 3 * len(_GAP)


def _move(handlers: Iterable[logging.Handler], stream: TextIO) -> None:
    for handler in handlers:
        cast("logging.StreamHandler[TextIO]", handler).setStream(stream)


def _set_errors(stream: TextIO, errors: str) -> str:
    """What the stream does from here on with a letter that its encoding lacks; what it did before."""
    before = stream.errors or errors
    if isinstance(stream, io.TextIOWrapper):
        with contextlib.suppress(OSError):  # it writes what waits, and the terminal may be gone
            stream.reconfigure(errors=errors)
    return before
