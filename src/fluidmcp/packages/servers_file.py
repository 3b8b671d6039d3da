"""From the bytes of a file of any shape to server entries: what cannot be served is refused alone, the others run."""

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from fluidmcp.config.entries import (
    EntryContext,
    RefusedEntry,
    ServerEntry,
    ServersFile,
    check_names_differ,
    parse_entry,
)
from fluidmcp.config.filling.expand import Expander
from fluidmcp.config.reading import as_object
from fluidmcp.config.secret import Secret
from fluidmcp.errors import ConfigurationError
from fluidmcp.packages import deferred
from fluidmcp.packages.answers import Answers, Ask
from fluidmcp.packages.files import read_regular
from fluidmcp.packages.formats.documents import decode_document
from fluidmcp.packages.formats.recognise import read_shape
from fluidmcp.packages.formats.shapes import ReadEntry
from fluidmcp.packages.importing.command_words import list_literal_secrets

MAX_ENV_FILE_BYTES: Final = 256 * 1024
_EDITOR_FOLDERS: Final = frozenset(
    ".vscode .vs .cursor .windsurf .codeium .claude .gemini .roo .cline .kilocode .codex .zed .kiro .amazonq .continue"
    " .opencode .crush .idea .junie .trae .mcp .amp .goose .lmstudio".split()
)
"""Folders of a project in which an editor keeps its settings: the project is the folder above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingOptions:
    """What the operator lets files have. `environ` is what `${NAME}` is filled in from."""

    environ: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    home: str = ""
    """What `~` and `${userHome}` mean."""
    allowed_env_names: frozenset[str] = frozenset()
    """The names that `--allow-env` adds."""
    allowed_env_files: frozenset[str] = frozenset()
    """Real paths of the files that `--allow-env-file` names."""
    ask: Ask | None = None
    """Asks the person at the terminal for an input; None where there is none."""


def parse_servers_file(
    text: bytes,
    *,
    path: Path,
    shown: str = "",
    directory: Path | None = None,
    options: ReadingOptions | None = None,
) -> ServersFile:
    """The entries of a file; a fault of one refuses that entry only.

    `shown` is what messages call the file. `directory` is the working directory of entries that name none; None: the
    folder of `path`, which then is a package's own.

    Raises:
        ConfigurationError: the file cannot be decoded (line and column are named), is of no known shape, or two of its
            entries have one address.
    """
    options = options or ReadingOptions()
    source = shown or str(path)
    typed_in = "" if directory is None else str(directory)
    shape = read_shape(decode_document(text, source=source), source=source, typed_in=typed_in)
    folder = Path(os.path.abspath(path.parent))
    answers = Answers(
        shape.inputs,
        options.environ,
        options.ask,
        folders={"${userHome}": options.home, "${__dirname}": str(folder)},
    )
    workspace = folder if directory is None else find_workspace(folder)
    context = EntryContext(
        source=source,
        directory=path.parent if directory is None else directory,
        workspace=workspace,
        expander=Expander(
            environ=options.environ,
            workspace=str(workspace),
            home=options.home,
            folder=str(folder),
            bare_names=shape.bare_names,
            braces_name_variables=shape.braces_name_variables,
            ask=answers.get,
            ask_several=answers.get_several,
            is_secret_input=answers.is_secret,
        ),
        home=options.home,
        owns_directory=directory is None,
        allowed_env_names=options.allowed_env_names,
        # A file for all projects has no project: what lies beside it may be read, and not the whole home.
        read_env_file=lambda name: read_env_file(
            name, within=folder if str(workspace) == options.home else workspace, options=options
        ),
    )
    return _read_all(shape.entries, context)


def _read_all(read: tuple[ReadEntry, ...], context: EntryContext) -> ServersFile:
    entries: list[ServerEntry] = []
    refused: list[RefusedEntry] = []
    disabled: list[str] = []
    for number, item in enumerate(read, start=1):
        if (as_object(item.value) or {}).get("disabled") is True:
            disabled.append(item.name)
            continue
        try:
            entry = parse_entry(
                item.name,
                item.value,
                context,
                path=item.path,
                names=item.names,
                faults=item.faults,
                number=number,
            )
        except ConfigurationError as error:
            refused.append(RefusedEntry(name=item.name, error=error))
        else:
            entries.append(_hide_literals(entry))
    check_names_differ(entries)
    return ServersFile(entries=tuple(entries), refused=tuple(refused), disabled=tuple(disabled))


def _hide_literals(entry: ServerEntry) -> ServerEntry:
    """With the secrets in its arguments among what no output of the server may show."""
    literal = list_literal_secrets(entry.written_command or entry.command, entry.written_args)
    return replace(entry, hidden=(*entry.hidden, *map(Secret, literal))) if literal else entry


def find_workspace(folder: Path) -> Path:
    """The project to which a configuration file in `folder` belongs."""
    for editor_folder in (folder, folder.parent):
        if editor_folder.name in _EDITOR_FOLDERS:
            return editor_folder.parent
    return folder


def read_env_file(path: Path, *, within: Path, options: ReadingOptions) -> dict[str, str]:
    """The variables of an `envFile`, as dotenv programs read it, without filling anything in.

    Raises:
        ConfigurationError: it cannot be read, lies outside of `within` and is not allowed, or has a line that is none.
    """
    real = Path(os.path.realpath(path))
    is_allowed = str(real) in options.allowed_env_files
    if not is_allowed and not real.is_relative_to(os.path.realpath(within)):
        # Said of what is not there as well, so that nobody can ask which files there are.
        raise ConfigurationError(
            f"{path} is outside of the folder of the configuration.",
            why="A file that somebody else wrote may name any file of yours there.",
            hint=f"If it is meant, add --allow-env-file {path}",
        )
    if not real.exists():
        raise ConfigurationError(
            f"{path} cannot be read.", why="There is no such file.", hint=f"A relative path counts from {within}."
        )
    text = read_regular(path, shown=str(path), max_bytes=MAX_ENV_FILE_BYTES, within=None if is_allowed else within)
    try:
        decoded = text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path} cannot be read.", why=f"Byte {error.start + 1} is not UTF-8.") from None
    found: dict[str, str] = {}
    for binding in deferred.parse_stream(io.StringIO(decoded)):
        if binding.error or (binding.key is None and binding.original.string.strip(" \t\r\n")[:1] not in ("", "#")):
            raise ConfigurationError(
                f"{path} cannot be read.",
                why=f"Line {binding.original.line} is not NAME=VALUE.",
                hint="Correct the file and run the command again.",
            )
        if binding.key is not None and binding.value is not None:
            found[binding.key] = binding.value
    return found
