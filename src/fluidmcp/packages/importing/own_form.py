"""An entry as it was read, written so that it means the same in another file and another folder. Pure module."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fluidmcp.config.filling.expand import ExpansionError
from fluidmcp.config.filling.foreign_commands import find_meaning
from fluidmcp.config.filling.scripts import find_script, is_harmless
from fluidmcp.config.reading import as_list, as_object, map_texts, show_plain
from fluidmcp.packages.importing.texts import Literal, Part, Placeholder, Spelling, join_text, split_text

_ORDER: Final = (
    "type command package python args secrets_in_args cwd env envFile files url headers tools"
    " request_timeout_seconds start_timeout_seconds auth shared isolation paths disabled".split()
)
_ABSOLUTE: Final = frozenset({"${workspaceFolder}", "${userHome}", "${/}", "${pathSeparator}"})
_IN_SCRIPT: Final = re.compile(
    r"\$\{(?:input:|user_config\.|workspaceFolder|__dirname|extensionPath)[^{}]*\}", re.ASCII
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """From the project of the file that was read to that of the file that is written."""

    old: Path
    new: Path

    @property
    def is_needed(self) -> bool:
        return self.old != self.new

    def find_workspace(self) -> tuple[Part, ...] | None:
        """What `${workspaceFolder}` becomes; None: it stays."""
        if not self.is_needed:
            return None
        return self.place_folder(self.old)

    def place_folder(self, folder: Path) -> tuple[Part, ...]:
        """What stands for an absolute folder in the file that is written."""
        if not folder.is_relative_to(self.new):
            return (Literal(str(folder)),)
        below = folder.relative_to(self.new)
        return (Placeholder("${workspaceFolder}"), *((Literal(f"/{below}"),) if below.parts else ()))

    def find_folder(self) -> str:
        """What a relative path begins with in the new file."""
        return str(self.old.relative_to(self.new) if self.old.is_relative_to(self.new) else self.old)


@dataclass(slots=True)
class OwnForm:
    """Writes entries of one file anew."""

    spelling: Spelling
    move: Move
    unclear: list[str] = field(default_factory=list[str])
    """Fields of the last entry that may mean another folder than before."""

    def write(self, value: Mapping[str, object]) -> dict[str, object]:
        """The entry, which must be a good one.

        Raises:
            ExpansionError: a text of it holds a placeholder that is not known here.
            NotHereError: its command is for another system.
        """
        self.unclear.clear()
        entry = {key: value[key] for key in (*_ORDER, *value) if key in value}
        if entry.get("disabled") is False:
            del entry["disabled"]
        self._write_launch(entry)
        for key, write in (
            ("package", self._write),
            ("python", self._write),
            ("url", self._write),
            ("cwd", self._write_cwd),
            ("envFile", self._write_env_file),
        ):
            text = entry.get(key)
            if isinstance(text, str):
                entry[key] = write(text)
        for key in ("env", "headers", "files"):
            members = as_object(entry.get(key))
            if members is not None:
                entry[key] = {name: self._write_member(member) for name, member in members.items()}
        for key in ("request_timeout_seconds", "start_timeout_seconds"):
            seconds = entry.get(key)
            if isinstance(seconds, float) and seconds.is_integer():
                entry[key] = int(seconds)
        return entry

    def _write_launch(self, entry: dict[str, object]) -> None:
        args = tuple(text for item in as_list(entry.get("args")) or () if (text := _as_text(item)) is not None)
        command = entry.get("command")
        script = None
        if isinstance(command, str):
            command, args = find_meaning(command, args)
            entry["command"] = self._write(command)
            script = find_script(command, args)
        if args or "args" in entry:
            entry["args"] = [
                self._write_script(text) if index == script else self._write(text) for index, text in enumerate(args)
            ]

    def _write(self, text: str) -> str:
        return join_text(split_text(text, self.spelling))

    def _write_script(self, text: str) -> str:
        """A shell's script: what stands for values of ours in it, and nothing else."""

        def write(match: re.Match[str]) -> str:
            parts = split_text(match[0], self.spelling)
            # A script is no text of ours: nothing in it is escaped.
            if not all(isinstance(part, Placeholder) or is_harmless(part.text) for part in parts):
                raise ExpansionError(
                    "would have a script with a folder whose name a shell may read as code; write its path by hand"
                )
            return "".join(part.text for part in parts)

        return _IN_SCRIPT.sub(write, text)

    def _write_member(self, member: object) -> object:
        """A variable, a header or a file."""
        parts = as_object(member)
        if parts is None:
            return self._write(member) if isinstance(member, str) else member
        filled = {key: map_texts(parts[key], self._write) for key in ("value", "json", "text") if key in parts}
        return {**parts, **filled}

    def _write_cwd(self, text: str) -> str:
        return self._write_path(text, "cwd")

    def _write_env_file(self, text: str) -> str:
        return self._write_path(text, "envFile")

    def _write_path(self, text: str, key: str) -> str:
        parts = split_text(text, self.spelling)
        if not self.move.is_needed or not parts:
            return join_text(parts)
        first = parts[0]
        if isinstance(first, Placeholder):
            if first.text not in _ABSOLUTE:
                self.unclear.append(key)
            return join_text(parts)
        if first.text.startswith("/") or first.text == "~" or first.text.startswith("~/"):
            return join_text(parts)
        return join_text((Literal(f"{self.move.find_folder()}/{first.text.removeprefix('./')}"), *parts[1:]))


def _as_text(value: object) -> str | None:
    return value if isinstance(value, str) else show_plain(value)
