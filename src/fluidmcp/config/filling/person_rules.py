"""Where values of a person may stand in an entry, and where not. Pure module: no I/O."""

import json
import os.path
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fluidmcp.config.filling.files import FileTemplate
from fluidmcp.config.filling.templates import Content, Template, looks_personal
from fluidmcp.config.reading import ObjectReader, as_object, show_key
from fluidmcp.config.variables import check_token_variable

_INTERPRETER: Final = re.compile(
    r"(?:sh|bash|dash|zsh|ksh|ash|fish|python[0-9.]*|pypy[0-9.]*|node|bun|deno|perl|ruby|php)(?:\.exe)?", re.ASCII
)
_CODE_SWITCH: Final = re.compile(r"-[a-zA-Z]*[ceErp]|--eval|--print|eval", re.ASCII)
_CODE_IN_WORD: Final = re.compile(r"--(?:eval|print)=", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonalPlaces:
    """What an entry holds of its person, wherever it stands."""

    env: Mapping[str, Content]
    args: Sequence[tuple[str, Template]]
    files: Sequence[FileTemplate]
    other_variables: frozenset[str]
    """The variables of the entry that hold nothing of the person."""
    token_variable: str
    """The `env_var_name`, or an empty text."""


def find_personal_names(reader: ObjectReader) -> set[str]:
    """The variables of `env` that hold something of the person, before they are read."""
    return {name for name, value in (as_object(reader.get("env")) or {}).items() if _looks_personal(value)}


def check_argument(command: str, args: Sequence[str], index: int, *, secrets_in_args: bool) -> str | None:
    """What is wrong with a value of a person in the argument `index`; None when it may stand there."""
    if _is_code(command, args, index):
        return "is code, in which the value of a person would be executed; put it into env and read the variable"
    if not secrets_in_args:
        return (
            "holds a value of a person, and every user of this machine can read the arguments of a process; put it "
            'into env, or say "secrets_in_args": true'
        )
    return None


def check_places(reader: ObjectReader, places: PersonalPlaces) -> None:
    """What is wrong with them becomes a fault of its field."""
    has_auth = "auth" in reader
    personal = [(f"{reader.path}.env.{show_key(name)}", content) for name, content in places.env.items()]
    personal += [(reader.path_of("args"), template) for _, template in places.args]
    personal += [(f"{reader.path_of('files')}.{show_key(file.name)}", file.content) for file in places.files]
    for path, content in personal:
        placeholder = next(content.placeholders(), None)
        if placeholder is not None and not has_auth:
            reader.faults.append(f"{path} holds {placeholder}, but the entry has no auth: nobody logs in to it")
    if places.files and not has_auth:
        reader.fault("files", "needs auth: files are written into the private home of a person who logged in")
    for name in places.env:
        fault = check_token_variable(name)
        if fault is not None:
            reader.faults.append(f"{reader.path}.env.{show_key(name)} holds a value of a person, and its name {fault}")
    _check_variables(reader, places)
    if has_auth and as_object(reader.get("auth")) is not None and not places.token_variable:
        written = (as_object(reader.get("auth")) or {}).get("env_var_name")
        if written is None and not _looks_personal([reader.get(key) for key in ("env", "args", "files")]):
            text = "is missing: name the variable for the token, or put ${auth.access_token} into env or files"
            reader.faults.append(f"{reader.path_of('auth')}.env_var_name {text}")


def _check_variables(reader: ObjectReader, places: PersonalPlaces) -> None:
    """No variable has two meanings. (A plain value of the token's variable does not count, as ever.)"""
    if places.token_variable in places.env:
        reader.faults.append(f"{reader.path_of('auth')}.env_var_name stands in env too; keep one of the two")
    taken = {*places.env, *places.other_variables, places.token_variable}
    for file in places.files:
        if file.variable and file.variable in taken:
            path = f"{reader.path_of('files')}.{show_key(file.name)}.env"
            reader.faults.append(f"{path} names a variable that something else sets too")
        taken.add(file.variable)


def _looks_personal(value: object) -> bool:
    # Without escapes of its own `${` stands in the text wherever it stands in the value.
    return looks_personal(json.dumps(value, ensure_ascii=False))


def _is_code(command: str, args: Sequence[str], index: int) -> bool:
    words = (command, *args[:index])
    has_interpreter = any(_INTERPRETER.fullmatch(os.path.basename(word)) for word in words)
    is_behind_switch = index > 0 and _CODE_SWITCH.fullmatch(args[index - 1]) is not None
    return has_interpreter and (is_behind_switch or _CODE_IN_WORD.match(args[index]) is not None)
