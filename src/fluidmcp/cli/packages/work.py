"""What `fluidmcp install`, `list` and `uninstall` do: one package after the other, and a line for each step."""

import signal
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

from fluidmcp.cli import deferred
from fluidmcp.cli.output import print_error, print_line, print_table, print_warning
from fluidmcp.config.settings import read_environment
from fluidmcp.errors import FluidMCPError, InstallError, UserError
from fluidmcp.observability.printable import make_printable
from fluidmcp.packages.found import METADATA, find_installation_directory
from fluidmcp.packages.resolve import find_packages
from fluidmcp.packages.sources.install import InstallOptions, InstallPlace, install_package, uninstall_package
from fluidmcp.packages.sources.installed import SOURCES
from fluidmcp.packages.sources.lock import LockedPackage, read_lock

EXIT_FAILED: Final = 1
EXIT_MISTAKE: Final = 2
_MAX_SCRIPTS: Final = 8


class Steps:
    """Prints a line when a step begins; on a terminal it turns until the step is over."""

    def __init__(self) -> None:
        self._spinner = deferred.Spinner() if sys.stdout.isatty() else None

    def begin(self, text: str) -> None:
        if text.startswith("Warning: "):
            self.end()
            print_warning(text.removeprefix("Warning: "))
        elif self._spinner is None:
            print_line(f"{text}...")
        else:
            self._spinner.begin(make_printable(text))

    def end(self, *, is_good: bool = True) -> None:
        if self._spinner is not None:
            self._spinner.end(is_good=is_good)


def run_install(packages: Sequence[str], *, allow_scripts: bool, python: str, entry: str, force: bool) -> int:
    """Install them all; the exit code says of the worst failure."""
    options = InstallOptions(allow_scripts=allow_scripts, python=python, entry=entry, force=force)
    return install_all(packages, options, read_environment())


def install_all(packages: Sequence[str], options: InstallOptions, environ: Mapping[str, str]) -> int:
    """Install one after the other; a failure is printed, and the others are installed. The exit code."""
    steps = Steps()
    place = InstallPlace(directory=_find_directory(environ), environ=environ, report=steps.begin)
    code = 0
    with _end_as_ctrl_c():
        for text in packages:
            try:
                package, is_new = install_package(text, place, options)
            except FluidMCPError as error:
                steps.end(is_good=False)
                print_error(error, detail=error.output_tail if isinstance(error, InstallError) else ())
                code = max(code, EXIT_MISTAKE if isinstance(error, UserError) else EXIT_FAILED)
            except BaseException:
                steps.end(is_good=False)
                raise
            else:
                steps.end()
                _tell(package, is_new=is_new)
    return code


def install_missing(text: str, environ: Mapping[str, str], *, python: str = "") -> None:
    """Install one package on the way, as `run --install` does; `python` is the version that its entry names.

    Raises:
        UserError, InstallError: as `install_package`.
    """
    steps = Steps()
    place = InstallPlace(directory=_find_directory(environ), environ=environ, report=steps.begin)
    is_good = False
    try:
        with _end_as_ctrl_c():
            package, is_new = install_package(text, place, InstallOptions(python=python))
        is_good = True
    finally:
        steps.end(is_good=is_good)
    _tell(package, is_new=is_new)


def run_uninstall(packages: Sequence[str]) -> int:
    """Remove them all; the exit code."""
    environ = read_environment()
    place = InstallPlace(directory=_find_directory(environ), environ=environ, report=lambda text: print_line(text))
    code = 0
    for text in packages:
        try:
            for package in uninstall_package(text, place):
                print_line(f"Removed {package.spec}")
        except UserError as error:
            print_error(error)
            code = EXIT_MISTAKE
    return code


def show_installed() -> None:
    """The packages that are there, from registries and others, and what is the matter with them."""
    directory = _find_directory(read_environment())
    found = find_packages(directory)
    lock = read_lock(directory)
    rows: list[tuple[str, str, str, str]] = []
    for package in found:
        locked = lock.find(package.author, package.name, package.version)
        if locked is not None:
            rows.append((package.name, package.version, _name(locked), _describe(locked)))
        else:
            note = "not in the lock: install it again" if package.author in SOURCES else ""
            rows.append((package.name, package.version, f"{package.author}/{package.name}", note))
    there = {package.metadata for package in found}
    gone = (each for each in lock.packages.values() if each.find_folder(directory) / METADATA not in there)
    rows += [(each.slug, each.version, _name(each), "its files are gone: install it again") for each in gone]
    if not rows:
        print_line(f"Nothing is installed in {directory}. For example: fluidmcp install npm:NAME")
        return
    print_table(("Name", "Version", "From", ""), sorted(rows))


def _describe(package: LockedPackage) -> str:
    skipped = len(package.skipped_scripts)
    scripts = f"{skipped} install script{'s' if skipped > 1 else ''} not run" if skipped else ""
    return ", ".join(filter(None, (package.interpreter, scripts)))


def _tell(package: LockedPackage, *, is_new: bool) -> None:
    state = "is installed" if is_new else "is installed already"
    print_line(f"{package.spec} {state}; run: fluidmcp run {_name(package)}")
    if is_new and package.skipped_scripts:
        listed = ", ".join(package.skipped_scripts[:_MAX_SCRIPTS])
        more = len(package.skipped_scripts) - _MAX_SCRIPTS
        print_line(f"Install scripts that were not run: {listed}{f' and {more} more' if more > 0 else ''}")
        print_line("Many servers do without. If this one does not start, and you trust them: add --allow-scripts")


def _name(package: LockedPackage) -> str:
    return f"{package.source}:{package.name}"


def _find_directory(environ: Mapping[str, str]) -> Path:
    return find_installation_directory(environ, working_directory=Path.cwd())


@contextmanager
def _end_as_ctrl_c() -> Generator[None]:
    """SIGTERM ends what is under way as Ctrl-C does, with the tools that run."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
