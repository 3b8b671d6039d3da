"""What `fluidmcp validate` does: a line for each entry, and the errors that `fluidmcp run` would print."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fluidmcp.cli.output import print_error, print_line
from fluidmcp.cli.serving.checks import check_launch
from fluidmcp.cli.serving.report import warn_of_wrong_variables
from fluidmcp.cli.serving.sources import add_packages
from fluidmcp.config.entries import ServerEntry
from fluidmcp.config.reading import as_object, list_texts, show_key
from fluidmcp.config.settings import load_settings, read_environment
from fluidmcp.errors import ConfigurationError, RemoteEntryError, UserError
from fluidmcp.packages.answers import name_variable
from fluidmcp.packages.files import read_regular
from fluidmcp.packages.formats.answers import make_example
from fluidmcp.packages.formats.documents import MAX_FILE_BYTES, decode_document
from fluidmcp.packages.formats.recognise import read_shape
from fluidmcp.packages.formats.shapes import Input, ReadEntry, ReadFile
from fluidmcp.packages.found import find_installation_directory
from fluidmcp.packages.resolve import LoadedServers, load_file
from fluidmcp.packages.servers_file import ReadingOptions
from fluidmcp.packages.sources.runtimes import add_runtimes

EXIT_MISTAKE: Final = 2
_INPUT: Final = re.compile(r"\$\{(?:input:|user_config\.)([^{}]+)\}")


def validate_files(files: Sequence[str], *, allow_env: Iterable[str], allow_env_file: Iterable[str]) -> int:
    """Check one file after the other; the exit code.

    Raises:
        ConfigurationError: the options or the variables of the gateway are wrong.
    """
    environ = read_environment()
    environ = add_runtimes(environ, find_installation_directory(environ, working_directory=Path.cwd()))
    settings = load_settings(environ, allow_env=allow_env, single_package=False)
    options = ReadingOptions(
        environ=environ,
        home=environ.get("HOME", ""),
        allowed_env_names=settings.allowed_env_names,
        allowed_env_files=frozenset(map(os.path.realpath, allow_env_file)),
        ask=answer_for_now,
    )
    faults = 0
    for file in files:
        if len(files) > 1:
            print_line(f"{file}:")
        try:
            faults += _validate(file, options)
        except UserError as error:
            print_error(error)
            faults += 1
    return EXIT_MISTAKE if faults else 0


def answer_for_now(item: Input) -> str:
    """Stands for what a person would answer."""
    if item.default is not None:
        return item.default
    return make_example(item, "")


@dataclass(frozen=True, slots=True)
class _Line:
    """What is said of one entry."""

    state: str
    text: str
    error: UserError | None = None


def _validate(file: str, options: ReadingOptions) -> int:
    """Print what there is to say about a file; how many entries are wrong.

    Raises:
        ConfigurationError: the file cannot be read, or has no servers.
    """
    shape = _read_shape(file)
    read = load_file(file, working_directory=Path.cwd(), options=options)
    loaded = add_packages(read, options)
    if not shape.entries:
        raise ConfigurationError(f"{file} has no server to run.", why="It names none.", hint="Add an entry.")
    lines = _describe(loaded, {entry.name: entry for entry in shape.entries}, shape.inputs, options.environ)
    wrong: list[UserError] = []
    for entry in shape.entries:
        # Two entries may have one name where they are a list: each has a line of its own.
        line = lines[entry.name].pop(0)
        print_line(f"  {line.state.ljust(8)}  {line.text}")
        if line.error is not None:
            wrong.append(line.error)
    for error in wrong:
        print_error(error)
    warn_of_wrong_variables(read.entries)
    return len(wrong)


def _read_shape(file: str) -> ReadFile:
    text = read_regular(Path.cwd() / file, shown=file, max_bytes=MAX_FILE_BYTES)
    return read_shape(decode_document(text, source=file), source=file, typed_in=str(Path.cwd()))


def _describe(
    loaded: LoadedServers, read: Mapping[str, ReadEntry], inputs: Sequence[Input], environ: Mapping[str, str]
) -> dict[str, list[_Line]]:
    """The lines of all entries by their names in the file."""
    lines: dict[str, list[_Line]] = {}
    for entry in loaded.entries:
        name = entry.written_name or entry.name
        lines.setdefault(name, []).append(_describe_entry(entry, read[name], inputs, environ))
    for refused in loaded.refused:
        state = "remote" if isinstance(refused.error, RemoteEntryError) else "refused"
        lines.setdefault(refused.name, []).append(_Line(state, show_key(refused.name), refused.error))
    for name in loaded.disabled:
        lines.setdefault(name, []).append(_Line("disabled", show_key(name)))
    return lines


def _describe_entry(entry: ServerEntry, read: ReadEntry, inputs: Sequence[Input], environ: Mapping[str, str]) -> _Line:
    text = f"{show_key(read.name)} -> /{entry.name}/mcp"
    questions = [
        item for item in inputs if item.default is None and item.is_required and name_variable(item.id) not in environ
    ]
    members = as_object(read.value) or {}
    try:
        check_launch(entry, environ)
    except ConfigurationError as error:
        # What nobody has answered yet may be a part of a path.
        if not _find_used(questions, [members.get(key) for key in ("command", "cwd", "paths")]):
            return _Line("wrong", text, error)
    asked = ", ".join(f"{item.id} ({name_variable(item.id)})" for item in _find_used(questions, members))
    return _Line("ok", f"{text}, asks for {asked}" if asked else text)


def _find_used(inputs: Sequence[Input], value: object) -> tuple[Input, ...]:
    """Those of the inputs that stand in a text of `value`."""
    used = {input_id for text in list_texts(value) for input_id in _INPUT.findall(text)}
    return tuple(item for item in inputs if item.id in used)
