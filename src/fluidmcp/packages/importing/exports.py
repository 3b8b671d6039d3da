"""Secrets of entries in our own form: taken out, and replaced by `${NAME}`. Pure module: no I/O."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from fluidmcp.config.filling.scripts import find_script
from fluidmcp.config.providers.fill import default_variables
from fluidmcp.config.reading import as_list, as_object, list_texts, show_key, show_plain
from fluidmcp.config.secret import Secret
from fluidmcp.config.variables import VARIABLE_NAME, is_loader_variable, is_own_variable, sounds_secret
from fluidmcp.packages.importing.command_words import find_role, split_script
from fluidmcp.packages.importing.credentials import (
    Span,
    find_in_value,
    find_secrets,
    is_harmless_part,
    is_plain,
)
from fluidmcp.packages.importing.texts import (
    OWN,
    Literal,
    Part,
    Placeholder,
    join_text,
    name_variable,
    split_text,
)

_MAX_NAME_CHARACTERS: Final = 100
_NAME_BEFORE: Final = re.compile(r"([A-Za-z_][\w.-]*)[\"']?\s*[=:]\s*[\"']?(?:Bearer\s+|Basic\s+)?\Z", re.ASCII)
_VARIABLE: Final = re.compile(r"\$\{?(?:env:)?([A-Za-z_][A-Za-z0-9_]*)", re.ASCII)
_PLAIN_HEADERS: Final = frozenset({"accept", "content-type", "user-agent"})
_PATH_KEYS: Final = ("command", "cwd", "envFile", "package", "python")


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """A variable that has to be exported, because the written file names it."""

    name: str
    value: Secret
    places: tuple[str, ...]
    """Where the value is found: a file and a field each."""


@dataclass(slots=True)
class Exports:
    """What is taken out of all entries of a file. `reserved` are the variables that they name themselves."""

    reserved: frozenset[str]
    _values: dict[str, str] = field(default_factory=dict[str, str], repr=False)
    _places: dict[str, list[str]] = field(default_factory=dict[str, list[str]])

    def add(self, value: str, names: Iterable[str], place: str) -> str:
        """The variable for a value: the first of the names that is free, or has that value already."""
        name = next(name for name in _number(names) if self._is_free(name, value))
        self._values[name] = value
        places = self._places.setdefault(name, [])
        if place not in places:
            places.append(place)
        return name

    def list(self) -> tuple[Export, ...]:
        return tuple(
            Export(name=name, value=Secret(value), places=tuple(self._places[name]))
            for name, value in self._values.items()
        )

    def _is_free(self, name: str, value: str) -> bool:
        if name in self.reserved or is_own_variable(name) or is_loader_variable(name):
            return False
        return VARIABLE_NAME.fullmatch(name) is not None and self._values.get(name, value) == value


def _number(names: Iterable[str]) -> Iterator[str]:
    """The names, and the last one with numbers behind it for ever."""
    last = "SECRET"
    for last in names:
        yield last
    number = 2
    while True:
        yield f"{last}_{number}"
        number += 1


def list_named_variables(entry: Mapping[str, object]) -> set[str]:
    """The variables that an entry takes from the gateway's environment, or may name for its server to fill in."""
    found: set[str] = set()
    for text in list_texts(entry):
        found.update(_VARIABLE.findall(text))
    env = as_object(entry.get("env")) or {}
    for name, member in env.items():
        variable = as_object(member)
        if variable is not None and variable.get("value") is None and "json" not in variable:
            found.add(name)
    for file in (as_object(entry.get("files")) or {}).values():
        found.add(str((as_object(file) or {}).get("env")))
    auth = as_object(entry.get("auth")) or {}
    found.update(str(auth[key]) for key in ("client_id_env", "client_secret_env", "env_var_name") if key in auth)
    provider = auth.get("provider")
    if isinstance(provider, str):
        found.update(default_variables(provider))
    return found


@dataclass(slots=True, kw_only=True)
class Hider:
    """Takes the secrets out of one entry. `place` is where it was read: file and path."""

    name: str
    place: str
    exports: Exports
    names: Mapping[str, str] = field(default_factory=dict[str, str])
    """What keys of the entry are called in the file, where that is another name."""

    def hide(self, entry: Mapping[str, object]) -> dict[str, object]:
        """The entry with `${NAME}` in place of each secret."""
        hidden = dict(entry)
        for key in _PATH_KEYS:
            if isinstance(entry.get(key), str):
                hidden[key] = self._hide_text(str(entry[key]), key, may_guess=False)
        if isinstance(entry.get("url"), str):
            hidden["url"] = self._hide_text(str(entry["url"]), "url")
        for key in ("env", "headers"):
            members = as_object(entry.get(key))
            if members is not None:
                path = self.names.get(key, key)
                hidden[key] = {
                    name: self._hide_member(name, member, f"{path}.{show_key(name)}", is_variable=key == "env")
                    for name, member in members.items()
                }
        files = as_object(entry.get("files"))
        if files is not None:
            hidden["files"] = {name: self._hide_file(file, f"files.{show_key(name)}") for name, file in files.items()}
        args = as_list(entry.get("args"))
        if args:
            hidden["args"] = self._hide_args(str(entry.get("command", "")), [str(arg) for arg in args])
        return hidden

    def _hide_member(self, name: str, member: object, path: str, *, is_variable: bool) -> object:
        parts = as_object(member)
        if parts is not None:
            if "json" in parts:
                return {**parts, "json": self._hide_json(name, parts["json"], f"{path}.json")}
            if parts.get("value") is None:
                return member
            value = self._hide_member(name, parts["value"], f"{path}.value", is_variable=is_variable)
            return {**parts, "value": value}
        text = member if isinstance(member, str) else show_plain(member)
        is_secret = sounds_secret(name) or not is_variable
        if text is None or (not isinstance(member, str) and (not is_secret or is_plain(text))):
            return member
        base = self._own_name(name)
        if not sounds_secret(name) and (is_variable or name.lower() in _PLAIN_HEADERS):
            return self._hide_text(text, path, base=base)
        return self._hide_value(text, path, (name, base) if is_variable else (base,), base=base)

    def _hide_file(self, file: object, path: str) -> object:
        parts = as_object(file)
        if parts is None:
            return file
        hidden = dict(parts)
        if isinstance(parts.get("text"), str):
            hidden["text"] = self._hide_text(str(parts["text"]), f"{path}.text")
        if "json" in parts:
            hidden["json"] = self._hide_json("", parts["json"], f"{path}.json")
        return hidden

    def _hide_json(self, name: str, value: object, path: str) -> object:
        """A value that is written as JSON; `name` is that of the member, or of what its list is."""
        members, items = as_object(value), as_list(value)
        if members is not None:
            return {key: self._hide_json(key, item, f"{path}.{show_key(key)}") for key, item in members.items()}
        if items is not None:
            return [self._hide_json(name, item, f"{path}[{index}]") for index, item in enumerate(items)]
        if not isinstance(value, str):
            # A placeholder is a text, which this value is not.
            return value
        base = self._own_name(name)
        if sounds_secret(name):
            return self._hide_value(value, path, (base,), base=base)
        return self._hide_text(value, path)

    def _hide_args(self, command: str, args: list[str]) -> list[str]:
        script = find_script(command, args)
        hidden: list[str] = []
        option = ""
        for index, arg in enumerate(args):
            path = f"args[{index}]"
            role = find_role(command, option, arg)
            if index == script:
                hidden.append(self._hide_script(arg, path))
            elif role.finds is not None:
                kind = self._own_name(role.kind)
                hidden.append(self._hide_value(arg, path, (kind,), base=kind, find=role.finds))
            else:
                hidden.append(self._hide_text(arg, path))
            # What was taken for a value names nothing.
            option = arg if role.is_option and index != script else ""
        return hidden

    def _hide_script(self, script: str, path: str) -> str:
        """A shell's script: `${env:NAME}` is what is handed over to the shell there."""
        pieces: list[str] = []
        position = 0
        for word in split_script(script):
            for span in word.list_secrets():
                for start, end in word.list_literals(span.start, span.end):
                    value = word.read(start, end)
                    if is_plain(value) or is_harmless_part(value):
                        continue
                    kind = span.hint if span.hint != "SECRET" else word.kind
                    name = self.exports.add(value, (self._own_name(kind),), f"{self.place}.{path}")
                    pieces += [script[position : word.start + start], word.quote_variable(name, value)]
                    position = word.start + end
        return "".join((*pieces, script[position:]))

    def _hide_value(
        self,
        text: str,
        path: str,
        names: Iterable[str],
        *,
        base: str,
        find: Callable[[str], Iterable[Span]] = find_in_value,
    ) -> str:
        """A value whose name says that it is a secret: all of it, but for what comes from elsewhere already."""
        parts = split_text(text, OWN)
        if len(parts) == 1:
            return self._hide_parts(parts, path, find, lambda _: names)

        def find_part(literal: str) -> Iterable[Span]:
            return () if is_harmless_part(literal) else find_in_value(literal)

        return self._hide_parts(parts, path, find_part, lambda _: (f"{base}_PART",))

    def _hide_text(self, text: str, path: str, *, base: str = "", may_guess: bool = True) -> str:
        def find(literal: str) -> tuple[Span, ...]:
            return find_secrets(literal, may_guess=may_guess)

        return self._hide_parts(
            split_text(text, OWN), path, find, lambda span: (f"{base or self._own_name('')}_{span.hint}",)
        )

    def _hide_parts(
        self,
        parts: Iterable[Part],
        path: str,
        find: Callable[[str], Iterable[Span]],
        choose: Callable[[Span], Iterable[str]],
    ) -> str:
        return join_text(self._replace(parts, path, find, choose))

    def _replace(
        self,
        parts: Iterable[Part],
        path: str,
        find: Callable[[str], Iterable[Span]],
        choose: Callable[[Span], Iterable[str]],
    ) -> Iterator[Part]:
        before = ""
        for part in parts:
            if isinstance(part, Placeholder):
                is_named = _ends_with_secret_name(before) or sounds_secret(part.name)
                default = tuple(self._replace(part.default, path, find_in_value if is_named else find, choose))
                yield Placeholder(part.text, part.name, part.operator, default)
                before = ""
                continue
            before = part.text
            position = 0
            for span in find(part.text):
                value = part.text[span.start : span.end]
                name = self.exports.add(value, choose(span), f"{self.place}.{path}")
                yield Literal(part.text[position : span.start])
                yield name_variable(name)
                position = span.end
            yield Literal(part.text[position:])

    def _own_name(self, text: str) -> str:
        """A name for a variable that begins with that of the server."""
        words = [re.sub(r"[^A-Z0-9]+", "_", part.upper()).strip("_") for part in (self.name, text)]
        name = "_".join(filter(None, words))[:_MAX_NAME_CHARACTERS]
        return name if name[:1].isalpha() else f"MCP_{name}"


def _ends_with_secret_name(text: str) -> bool:
    """Whether what follows is the value of something that sounds like a secret."""
    found = _NAME_BEFORE.search(text)
    return found is not None and sounds_secret(found[1])
