"""Everything that FluidMCP prints: results on stdout, warnings and errors on stderr, flushed line by line.

Text that comes from elsewhere (a file, a server's stderr) cannot steer the terminal: control characters are shown as
escapes. A reader that goes away (`fluidmcp run ... | head`) ends the output, not the gateway.

Where the log is JSON (`--log-format json`), warnings and errors are lines of it.
"""

import contextlib
import errno
import os
import sys
from collections.abc import Generator, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Literal, TextIO

from fluidmcp.cli import deferred
from fluidmcp.errors import FluidMCPError
from fluidmcp.observability.printable import make_printable

Colour = Literal["green", "yellow", "red"]

_COLUMN_GAP = "  "
_WARNING: Final = 30
_ERROR: Final = 40
"""As `logging` has them, which is not loaded for what is printed alone."""
_READER_IS_GONE: Final = (errno.EPIPE, errno.EIO)
"""Of a pipe, and of a terminal that was closed."""
_CODES: Final[Mapping[Colour, str]] = MappingProxyType({"green": "32", "yellow": "33", "red": "31"})


def print_line(text: str = "") -> None:
    """One line on stdout."""
    _print(text, sys.stdout)


def print_block(text: str) -> None:
    """Text of several lines on stdout; tabs stay."""
    for line in text.splitlines() or [""]:
        _print("\t".join(map(make_printable, line.split("\t"))), sys.stdout, is_printable=True)


def print_notice(text: str) -> None:
    """One line on stderr, where stdout is for the result."""
    _print(text, sys.stderr)


def print_warning(text: str, *, detail: Iterable[str] = ()) -> None:
    """One line on stderr that begins `Warning:`; `detail` follows as in `print_error`."""
    detail = tuple(detail)
    if deferred.tell(_WARNING, "\n".join((text, *detail))):
        return
    _print(f"Warning: {text}", sys.stderr)
    _quote(detail)


def print_error(error: FluidMCPError, *, subject: str = "", detail: Iterable[str] = ()) -> None:
    """What happened, why, and what to do: a line each on stderr, empty parts left out.

    `subject` is put in front when the first line would not name it; `detail` (the last lines of a server's stderr)
    follows, marked as a quotation.
    """
    what = error.what if not subject or subject in error.what else f"{subject}: {error.what}"
    detail = tuple(detail)
    if deferred.tell(_ERROR, "\n".join((" ".join(filter(None, (what, error.why, error.hint))), *detail))):
        return
    _print(f"Error: {what}", sys.stderr)
    if error.why:
        _print(f"  Why: {error.why}", sys.stderr)
    if error.hint:
        _print(f"  Do: {error.hint}", sys.stderr)
    _quote(detail)


def print_traceback(text: str) -> None:
    """The lines of a traceback on stderr; asked for with FMCP_LOG_LEVEL=debug only."""
    if deferred.tell(_ERROR, text):
        return
    for line in text.splitlines():
        _print(line, sys.stderr)


def print_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, colours: Mapping[str, Colour] | None = None
) -> None:
    """Aligned columns on stdout. `colours`: those of cells by their text, where a terminal shows them."""
    lines = [[make_printable(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        cells = [_paint(cell.ljust(width), (colours or {}).get(cell)) for cell, width in zip(line, widths, strict=True)]
        _write(_COLUMN_GAP.join(cells).rstrip(), sys.stdout)


def print_coloured(word: str, text: str, colour: Colour | None) -> None:
    """One line on stdout that begins with a word in a colour, where a terminal shows it."""
    _write(_paint(make_printable(word), colour) + make_printable(text), sys.stdout)


@contextlib.contextmanager
def silent_stdout() -> Generator[None]:
    """What is printed on stdout goes nowhere, whoever prints it."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


def _paint(text: str, colour: Colour | None) -> str:
    return text if colour is None else f"\x1b[{_CODES[colour]}m{text}\x1b[0m"


def _quote(lines: Iterable[str]) -> None:
    for line in lines:
        _print(f"  | {line}", sys.stderr)


def make_encodable(text: str, stream: TextIO) -> str:
    """The text with escapes for what the stream's encoding lacks."""
    encoding = stream.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _print(text: str, stream: TextIO, *, is_printable: bool = False) -> None:
    _write(text if is_printable else make_printable(text), stream)


def _write(text: str, stream: TextIO) -> None:
    try:
        print(make_encodable(text, stream), file=stream, flush=True)
    except OSError as error:
        if error.errno not in _READER_IS_GONE:
            raise
        # What is still in the buffer would raise again when the interpreter ends.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
