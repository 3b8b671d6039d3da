"""What `fluidmcp import` does: reads foreign files, writes one of ours, and says what to export."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from fluidmcp.cli.files.whole_file import create_file, overwrite_file
from fluidmcp.cli.output import print_error, print_line, print_notice
from fluidmcp.config.settings import read_environment
from fluidmcp.errors import ConfigurationError
from fluidmcp.packages.files import read_regular
from fluidmcp.packages.formats.documents import MAX_FILE_BYTES, decode_document
from fluidmcp.packages.formats.recognise import read_shape
from fluidmcp.packages.importing.merging import Imported, Source, merge_sources, name_tool, write_document
from fluidmcp.packages.importing.places import list_places
from fluidmcp.packages.servers_file import find_workspace

EXIT_LEFT_OUT: Final = 2
_ANOTHER_FILE: Final = "Name another file with -o, or add --force."


def import_files(files: Sequence[str], *, output: str, find_all: bool, force: bool, per_person: bool = False) -> int:
    """Write the file; the exit code, 0 if all entries of the files are in it.

    Raises:
        ConfigurationError: a file that was named cannot be read, nothing is left to write, or the file to write is
            there or cannot be written.
    """
    here = Path.cwd()
    sources: list[Source] = []
    read: list[Path] = []
    for file in files:
        read.append(here / file)
        sources.append(_read(here / file, shown=file, tool=name_tool(here / file), here=here))
    if find_all:
        sources += _read_usual_places(read_environment(), here, read)
    if not sources:
        raise ConfigurationError(
            "There is nothing to import.",
            why="No file with servers is in the usual places.",
            hint="Name the files: fluidmcp import FILE...",
        )
    target = here / output if output else here / "fluidmcp.json"
    if output:
        _check_target(target, read, shown=output, force=force)
    workspace = find_workspace(Path(os.path.abspath(target.parent)))
    imported = merge_sources(sources, workspace=workspace, per_person=per_person)
    for error in imported.left_out:
        print_error(error)
    if not imported.names:
        raise ConfigurationError("There is nothing to write.", why="None of the entries can be kept.")
    text = write_document(imported.document)
    if output:
        _write(target, text, shown=output, force=force)
        print_line(f"Wrote {output} with {', '.join(imported.names)}.")
    else:
        for line in text.splitlines():
            print_line(line)
    _tell(imported)
    return EXIT_LEFT_OUT if imported.left_out else 0


def _read(path: Path, *, shown: str, tool: str, here: Path) -> Source:
    """Raises ConfigurationError where it cannot be read, or holds no servers."""
    document = decode_document(read_regular(path, shown=shown, max_bytes=MAX_FILE_BYTES), source=shown)
    folder = Path(os.path.abspath(path.parent))
    read = read_shape(document, source=shown, typed_in=str(here))
    return Source(shown=shown, tool=tool, folder=folder, workspace=find_workspace(folder), read=read)


def _read_usual_places(environ: Mapping[str, str], here: Path, read: list[Path]) -> Iterator[Source]:
    """What is there; a file that holds no servers, or cannot be read, is told and left."""
    home, config = environ.get("HOME", ""), environ.get("XDG_CONFIG_HOME", "")
    for place in list_places(
        home=Path(home) if home else None,
        working_directory=here,
        config=Path(config) if os.path.isabs(config) else None,
        is_mac=sys.platform == "darwin",
    ):
        path = place.path
        if not path.exists() or any(_is_same(path, other) for other in read):
            continue
        shown = f"~/{path.relative_to(home)}" if home and path.is_relative_to(home) else str(path)
        read.append(path)
        try:
            source = _read(path, shown=shown, tool=place.tool, here=here)
        except ConfigurationError as error:
            # Most settings of editors hold none.
            if not error.what.endswith("has no servers."):
                print_error(error)
            continue
        if source.read.entries:
            print_notice(f"Found {shown}: {', '.join(entry.name for entry in source.read.entries)}")
            yield source


def _check_target(target: Path, read: Sequence[Path], *, shown: str, force: bool) -> None:
    if any(_is_same(target, other) for other in read):
        raise ConfigurationError(
            f"{shown} is one of the files to import.", why="Those are never changed.", hint="Name another file with -o."
        )
    if not force and os.path.lexists(target):
        raise _is_there(shown)


def _is_same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other) or (
        one.exists() and other.exists() and os.path.samefile(one, other)
    )


def _write(target: Path, text: str, *, shown: str, force: bool) -> None:
    """All of it or nothing, and readable by its owner alone."""
    if force:
        overwrite_file(target, text.encode(), shown=shown)
    else:
        create_file(target, text.encode(), shown=shown, hint=_ANOTHER_FILE)


def _is_there(shown: str) -> ConfigurationError:
    return ConfigurationError(f"{shown} is there already.", hint=_ANOTHER_FILE)


def _tell(imported: Imported) -> None:
    for note in imported.notes:
        print_notice(note)
    if imported.exports:
        print_notice("Export before you run it (the value is where it was):")
        for export in imported.exports:
            print_notice(f"  {export.name}  from {'; '.join(export.places)}")
