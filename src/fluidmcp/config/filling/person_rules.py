"""Where values of a person may stand in an entry, and where not. Pure module: no I/O."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fluidmcp.config.auth_block import AuthBlock
from fluidmcp.config.filling.executed import is_executed
from fluidmcp.config.filling.files import FileTemplate
from fluidmcp.config.filling.templates import Content, Template, looks_personal
from fluidmcp.config.logins.read import Auth, check_placeholder, list_unused, token_variables
from fluidmcp.config.reading import ObjectReader, as_object, list_texts, show_key
from fluidmcp.config.variables import check_token_variable


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonalPlaces:
    """What an entry holds of its person, wherever it stands."""

    env: Mapping[str, Content]
    args: Sequence[tuple[str, Template]]
    files: Sequence[FileTemplate]
    other_variables: frozenset[str]
    """The variables of the entry that hold nothing of the person."""
    auth: Auth | None
    """None also where something is wrong with it."""


def find_personal_names(reader: ObjectReader) -> set[str]:
    """The variables that hold something of the person, or the path of a file for them, before they are read."""
    names = {name for name, value in (as_object(reader.get("env")) or {}).items() if _looks_personal(value)}
    files = (as_object(reader.get("files")) or {}).values()
    return names | {name for file in files if isinstance(name := (as_object(file) or {}).get("env"), str)}


def check_argument(command: str, args: Sequence[str], index: int, *, secrets_in_args: bool) -> str | None:
    """What is wrong with a value of a person in the argument `index`; None when it may stand there."""
    if is_executed(command, args, index):
        return "is code or says what is run, with a value of a person in it; put it into env and read the variable"
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
        placeholders = dict.fromkeys(content.placeholders())
        if not has_auth and placeholders:
            first = next(iter(placeholders))
            reader.faults.append(f"{path} holds {first}, but the entry has no auth: nobody logs in to it")
        elif places.auth is not None:
            faults = [check_placeholder(placeholder, places.auth) for placeholder in placeholders]
            reader.faults += [f"{path} {fault}" for fault in faults if fault is not None]
    if places.files and not has_auth:
        reader.fault("files", "needs auth: files are written into the private home of a person who logged in")
    for name in places.env:
        fault = check_token_variable(name)
        if fault is not None:
            reader.faults.append(f"{reader.path}.env.{show_key(name)} holds a value of a person, and its name {fault}")
    _check_variables(reader, places)
    _check_use(reader, places, [content for _, content in personal])


def _check_use(reader: ObjectReader, places: PersonalPlaces, contents: Sequence[Content]) -> None:
    """What people give has to get somewhere."""
    block = as_object(reader.get("auth"))
    if block is None or (places.auth is not None and not isinstance(places.auth, AuthBlock)):
        used = frozenset(placeholder for content in contents for placeholder in content.placeholders())
        # What stands in a text that has a fault of its own is not unused as well.
        written = [text for key in ("env", "args", "files") for text in list_texts(reader.get(key))]
        for name in list_unused(places.auth, used):
            if any(re.search(rf"(?<!\$)\$\{{{re.escape(name)}[|}}]", text) for text in written):
                continue
            text = f"gives ${{{name}}}, which nothing uses: put it into env, args or files, or do not ask for it"
            reader.fault("auth", text)
    elif block.get("env_var_name") is None and places.auth is not None:
        if not _looks_personal([reader.get(key) for key in ("env", "args", "files")]):
            text = "is missing: name the variable for the token, or put ${auth.access_token} into env or files"
            reader.faults.append(f"{reader.path_of('auth')}.env_var_name {text}")


def _check_variables(reader: ObjectReader, places: PersonalPlaces) -> None:
    """No variable has two meanings. (A plain value of the token's variable does not count, as ever.)"""
    token_names = token_variables(places.auth)
    for variable, login in token_names.items():
        if variable in places.env:
            path = f"{reader.path_of('auth')}.{login}" if login else reader.path_of("auth")
            reader.faults.append(f"{path}.env_var_name stands in env too; keep one of the two")
    taken = {*places.env, *places.other_variables, *token_names}
    for file in places.files:
        if file.variable and file.variable in taken:
            path = f"{reader.path_of('files')}.{show_key(file.name)}.env"
            reader.faults.append(f"{path} names a variable that something else sets too")
        taken.add(file.variable)


def _looks_personal(value: object) -> bool:
    # Without escapes of its own `${` stands in the text wherever it stands in the value.
    return looks_personal(json.dumps(value, ensure_ascii=False))
