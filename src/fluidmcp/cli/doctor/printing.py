"""How findings about this machine and its packages are shown: line by line as they are made, or as JSON at the end."""

import contextlib
import json
import sys
from collections.abc import AsyncGenerator, Mapping
from types import MappingProxyType
from typing import Final

from fluidmcp.cli.doctor.checks import Finding
from fluidmcp.cli.output import Colour, print_coloured, print_line

EXIT_PROBLEM: Final = 1
COLOURS: Final[Mapping[str, Colour]] = MappingProxyType({"ok": "green", "warning": "yellow", "problem": "red"})


def choose_colours(environ: Mapping[str, str]) -> Mapping[str, Colour]:
    """Those of levels, where a terminal shows them and nobody said no (NO_COLOR, TERM=dumb); else none."""
    is_shown = sys.stdout.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
    return COLOURS if is_shown else {}


class Printer:
    """Takes findings, and counts the problems among them."""

    def __init__(self, environ: Mapping[str, str], *, as_json: bool) -> None:
        self._colours = choose_colours(environ)
        self._as_json = as_json
        self._taken: list[dict[str, object]] = []
        self._problems = 0

    def begin(self, package: str) -> None:
        """What follows is about this one."""
        if not self._as_json:
            print_line(f"{package}:")

    async def take_all(self, findings: AsyncGenerator[Finding], *, package: str = "") -> None:
        async with contextlib.aclosing(findings):
            async for finding in findings:
                self.take(finding, package=package)

    def take(self, finding: Finding, *, package: str = "") -> None:
        self._problems += finding.level == "problem"
        if self._as_json:
            document: dict[str, object] = {"package": package} if package else {}
            self._taken.append(
                document
                | {
                    "level": finding.level,
                    "subject": finding.subject,
                    "cause": finding.text,
                    "remedy": finding.hint,
                    "details": list(finding.details),
                }
            )
            return
        print_coloured(f"{finding.level:<8}", f" {finding.subject}: {finding.text}", self._colours.get(finding.level))
        if finding.hint:
            print_line(f"{'':<9}Do: {finding.hint}")
        for detail in finding.details:
            print_line(f"{'':<9}- {detail}")

    def conclude(self) -> int:
        """The exit code; prints the end."""
        if self._as_json:
            print_line(json.dumps({"ok": not self._problems, "findings": self._taken}))
        elif self._problems:
            print_line(f"{self._problems} problem{'s' if self._problems > 1 else ''} found.")
        else:
            print_line("No problem found.")
        return EXIT_PROBLEM if self._problems else 0
