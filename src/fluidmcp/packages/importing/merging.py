"""One file of ours out of the entries of many files: what is there twice, what clashes, what cannot be kept.

Pure module: no I/O.
"""

import contextlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from fluidmcp.config.entries import MAX_NAME_CHARACTERS, RESERVED_NAMES, EntryContext, make_address_name, parse_entry
from fluidmcp.config.filling.expand import Expander, ExpansionError
from fluidmcp.config.filling.foreign_commands import NotHereError
from fluidmcp.config.reading import as_object, list_texts, show_key
from fluidmcp.config.schema import SCHEMA_ADDRESS
from fluidmcp.config.variables import sounds_secret
from fluidmcp.errors import ConfigurationError, RemoteEntryError
from fluidmcp.packages.answers import Answers, name_variable
from fluidmcp.packages.formats.answers import make_example
from fluidmcp.packages.formats.inputs import write_inputs
from fluidmcp.packages.formats.shapes import Input, ReadEntry, ReadFile
from fluidmcp.packages.importing.credentials import find_secrets
from fluidmcp.packages.importing.disabled import keep_known
from fluidmcp.packages.importing.exports import Export, Exports, Hider, list_named_variables
from fluidmcp.packages.importing.own_form import Move, OwnForm
from fluidmcp.packages.importing.per_person import ask_each_person
from fluidmcp.packages.importing.texts import Spelling

_INPUT: Final = re.compile(r"\$\{input:([^{}]+)\}")
_ANY_TEXT: Final = "https://x"
"""What stands for values that are not known yet, wherever they are used."""
_CORRECT: Final = "Correct it there and import it again, or write the entry by hand."


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file that was read."""

    shown: str
    """What messages call it."""
    tool: str
    """Whose file it is, as a part of a name: `cursor`."""
    workspace: Path
    """What its relative paths and `${workspaceFolder}` count from."""
    folder: Path
    """Where it lies: what `${__dirname}` means."""
    read: ReadFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """The file to write, and what to say about it."""

    document: Mapping[str, object]
    exports: tuple[Export, ...] = ()
    notes: tuple[str, ...] = ()
    """What is different from what somebody may expect, a sentence each."""
    left_out: tuple[ConfigurationError, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(as_object(self.document["mcpServers"]) or {})


@dataclass(slots=True, kw_only=True)
class _Taken:
    """An entry on its way into the file."""

    base: str
    """Its name where nothing clashes."""
    value: Mapping[str, object]
    place: str
    names: Mapping[str, str]


@dataclass(slots=True)
class _Merger:
    workspace: Path
    taken: dict[str, _Taken] = field(default_factory=dict[str, _Taken])
    inputs: dict[str, Input] = field(default_factory=dict[str, Input])
    notes: list[str] = field(default_factory=list[str])
    left_out: list[ConfigurationError] = field(default_factory=list[ConfigurationError])

    def add(self, source: Source) -> None:
        ids = self._take_inputs(source)
        move = Move(old=source.workspace, new=self.workspace)
        form = OwnForm(
            Spelling(
                bare_names=source.read.bare_names,
                braces_name_variables=source.read.braces_name_variables,
                input_ids=ids,
                workspace=move.find_workspace(),
                workspace_name=source.workspace.name,
                folder=move.place_folder(source.folder),
            ),
            move,
        )
        for number, item in enumerate(source.read.entries, start=1):
            try:
                name = make_address_name(item.name, source=source.shown, number=number)
                if name in RESERVED_NAMES:
                    item = replace(item, name=f"{name.strip('.')}-server")
                    self.notes.append(
                        f"{show_key(name)} of {source.shown} is called {item.name}: "
                        f"the gateway itself answers at /{name}."
                    )
                    name = item.name
                _check(item, source, number)
                value = form.write(self._select(item, source))
            except ConfigurationError as error:
                self.left_out.append(error)
            except (ExpansionError, NotHereError) as error:
                # An entry that is disabled is not checked, but its texts have to be understood.
                self.left_out.append(_refuse(item, source, str(error)))
            else:
                self._take(name, item, value, source)
                self._note_places(item, value, form, source)

    def _select(self, item: ReadEntry, source: Source) -> Mapping[str, object]:
        """What is taken of an entry: all of it where it was checked, what is known where it is disabled."""
        value = as_object(item.value) or {}
        if value.get("disabled") is not True:
            return value
        kept, dropped = keep_known(value)
        if dropped:
            self.notes.append(
                f"{item.path} of {source.shown} is disabled; left out, as it cannot be read: {', '.join(dropped)}."
            )
        return kept

    def _take(self, name: str, item: ReadEntry, value: Mapping[str, object], source: Source) -> None:
        same = next((key for key, other in self.taken.items() if other.base == name and other.value == value), None)
        if same is not None:
            return
        free = name
        if name in self.taken:
            free = next(name for name in _suffix(name, source.tool) if name not in self.taken)
            other = self.taken[name].place
            self.notes.append(f"{source.shown} has another {name} than {other}; it is called {free}.")
        elif name != item.name:
            self.notes.append(f"{show_key(item.name)} of {source.shown} is called {name}, as in its address.")
        self.taken[free] = _Taken(base=name, value=value, place=f"{source.shown}, {item.path}", names=item.names)

    def _note_places(self, item: ReadEntry, value: Mapping[str, object], form: OwnForm, source: Source) -> None:
        where = f"{item.path} of {source.shown}"
        self.notes += [f"{where}: {key} begins with a variable; check what it counts from now." for key in form.unclear]
        file = value.get("envFile")
        if isinstance(file, str) and (file.startswith(("/", "~")) or ".." in file.split("/")):
            self.notes.append(f"{where} reads {file}: add --allow-env-file {file} to run.")
        if "url" in value or "type" in value:
            self.notes.append(f"{where} is a remote server; it is kept, and cannot be run yet.")

    def _take_inputs(self, source: Source) -> dict[str, str]:
        """The inputs of a file, with another id where one of another file is in the way: new ids by old ones."""
        ids: dict[str, str] = {}
        for item in source.read.inputs:
            for input_id in itertools.chain((item.id,), _suffix(item.id, source.tool)):
                default = item.default and item.default.replace("${__dirname}", str(source.folder))
                renamed = replace(item, id=input_id, default=default)
                variable = name_variable(input_id)
                others = [other for other in self.inputs.values() if name_variable(other.id) == variable]
                if all(other == renamed for other in others):
                    self.inputs[input_id] = renamed
                    ids[item.id] = input_id
                    break
        return ids


def merge_sources(sources: Sequence[Source], *, workspace: Path, per_person: bool = False) -> Imported:
    """One file of ours, to be written into the project `workspace`, out of all entries of `sources`.

    What is there twice is taken once. Of two that clash the second gets a suffix. What cannot be honoured is left out.
    `per_person`: secret inputs become keys that each person types.
    """
    merger = _Merger(workspace)
    for source in sources:
        merger.add(source)
    reserved = {name for taken in merger.taken.values() for name in list_named_variables(taken.value)}
    exports = Exports(frozenset(reserved))
    servers: dict[str, object] = {}
    notes = list(merger.notes)
    for name, taken in merger.taken.items():
        hider = Hider(name=name, place=taken.place, exports=exports, names=taken.names)
        servers[name] = value = hider.hide(taken.value)
        if per_person:
            servers[name], more = ask_each_person(name, value, merger.inputs)
            notes += more
    document: dict[str, object] = {"$schema": SCHEMA_ADDRESS, "mcpServers": servers}
    used = {match for text in list_texts(servers) for match in _INPUT.findall(text)}
    inputs = [item for item in merger.inputs.values() if item.id in used]
    if inputs:
        document["inputs"] = write_inputs(
            [replace(item, default=None) if _has_secret_default(item) else item for item in inputs]
        )
        notes += [
            f"The input {item.id} has a default that looks like a secret: export it as {name_variable(item.id)}."
            for item in inputs
            if _has_secret_default(item)
        ]
    return Imported(document=document, exports=exports.list(), notes=tuple(notes), left_out=tuple(merger.left_out))


def write_document(document: Mapping[str, object]) -> str:
    """The text of a file, with a line end; what cannot be printed is written as an escape."""
    text = json.dumps(document, indent=2, ensure_ascii=False)
    return "".join(char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text) + "\n"


def _check(item: ReadEntry, source: Source, number: int) -> None:
    """Raises ConfigurationError for an entry that could not be run whatever is exported; a remote one may be kept."""
    value = as_object(item.value)
    if value is not None and value.get("disabled") is True:
        if item.faults:
            raise _refuse(item, source, "; ".join(item.faults))
        return
    auth = as_object((value or {}).get("auth")) or {}
    answers = Answers(source.read.inputs, {}, lambda item: make_example(item, _ANY_TEXT))
    context = EntryContext(
        source=source.shown,
        directory=source.workspace,
        workspace=source.workspace,
        expander=Expander(
            environ=_Everything(),
            workspace=str(source.workspace),
            home="/",
            folder=str(source.folder),
            bare_names=source.read.bare_names,
            braces_name_variables=source.read.braces_name_variables,
            ask=answers.get,
            ask_several=answers.get_several,
        ),
        home="/",
        allowed_env_names=frozenset(str(auth.get(key)) for key in ("client_id_env", "client_secret_env")),
    )
    with contextlib.suppress(RemoteEntryError):
        parse_entry(item.name, item.value, context, path=item.path, names=item.names, faults=item.faults, number=number)


class _Everything(Mapping[str, str]):
    """An environment in which every variable is set: it shows what else is wrong with an entry."""

    def __getitem__(self, name: str) -> str:
        return _ANY_TEXT

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def _refuse(item: ReadEntry, source: Source, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"The entry {show_key(item.name)} in {source.shown} is not valid.", why=f"{why}.", hint=_CORRECT
    )


def _suffix(name: str, tool: str) -> Iterator[str]:
    """The name with the tool behind it, then with numbers."""
    number = 1
    while True:
        behind = f"-{tool}" if number == 1 else f"-{tool}-{number}"
        yield name[: MAX_NAME_CHARACTERS - len(behind)] + behind
        number += 1


def _has_secret_default(item: Input) -> bool:
    return (
        bool(item.default)
        and not item.choices
        and (item.is_secret or sounds_secret(item.id) or bool(find_secrets(item.default or "")))
    )


def name_tool(path: Path) -> str:
    """Whose file it is, by its place, as a part of a name."""
    known = {".mcp.json": "claude-code", ".claude.json": "claude-code", "claude_desktop_config.json": "claude-desktop"}
    if path.name in known:
        return known[path.name]
    folders = [part.removeprefix(".") for part in path.parts[:-1] if part.startswith(".") and part != ".config"]
    text = folders[-1] if folders else path.stem
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:20] or "other"
