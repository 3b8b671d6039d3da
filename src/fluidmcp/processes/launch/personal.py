"""What an entry holds of its person, filled in for one start. Nothing of it is kept when the process is gone."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from fluidmcp.config.entries import ServerEntry
from fluidmcp.config.filling.files import MAX_FILES_BYTES, PrivateFile
from fluidmcp.config.filling.templates import (
    NOBODY,
    Content,
    Credentials,
    FillError,
    Placeholder,
    Template,
    list_secrets,
    short_form,
)
from fluidmcp.config.logins.read import token_variables
from fluidmcp.errors import ServerStartError

Filled = TypeVar("Filled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Personal:
    """The values for one process."""

    variables: dict[str, str] = field(default_factory=dict[str, str], repr=False)
    args: dict[str, str] = field(default_factory=dict[str, str], repr=False)
    """The arguments, by what stands for them in the entry's `args`."""
    files: tuple[PrivateFile, ...] = ()
    secrets: frozenset[str] = field(default=frozenset(), repr=False)
    """What must not show in what the process writes."""


def fill_in(entry: ServerEntry, credentials: Credentials | None) -> Personal:
    """The values of an entry for a person. None: for nobody, to see whether the server starts.

    Then the variables and files that would hold something of the person are not there, and in arguments the
    placeholders are empty texts.

    Raises:
        ServerStartError: a value is not known or cannot stand where it should; it names the field, never the value.
    """
    if credentials is None:
        args = {mark: _without_person(template) for mark, template in entry.personal_args}
        files = _fill_files(entry, NOBODY, only_public=True)
        return Personal(args=args, files=files)
    contents = _list_variables(entry)
    variables = {name: _fill(entry, f"env.{name}", content, credentials) for name, content in contents.items()}
    args = {mark: _fill(entry, "args", template, credentials) for mark, template in entry.personal_args}
    all_contents: Iterable[Content] = (
        *contents.values(),
        *(template for _, template in entry.personal_args),
        *(file.content for file in entry.files),
    )
    return Personal(
        variables=variables,
        args=args,
        files=_fill_files(entry, credentials),
        secrets=frozenset(list_secrets(all_contents, credentials)),
    )


def _list_variables(entry: ServerEntry) -> dict[str, Content]:
    contents = {name: variable.personal for name, variable in entry.env if variable.personal is not None}
    contents.update((variable, short_form(login)) for variable, login in token_variables(entry.auth).items())
    return contents


def _without_person(template: Template) -> str:
    return "".join("" if isinstance(part, Placeholder) else part for part in template.parts)


def _fill_files(entry: ServerEntry, credentials: Credentials, *, only_public: bool = False) -> tuple[PrivateFile, ...]:
    files = tuple(
        PrivateFile(
            target=file.target,
            text=_fill(entry, f"files.{file.name}", file.content, credentials),
            variable=file.variable,
        )
        for file in entry.files
        if not (only_public and file.content.is_personal)
    )
    if sum(len(file.text.encode()) for file in files) > MAX_FILES_BYTES:
        raise ServerStartError(
            f"The server of '{entry.name}' could not be started.",
            why=f"Its files would be larger than {MAX_FILES_BYTES // 1024} kB in all.",
            hint=f"Make the `files` of '{entry.name}' smaller.",
        )
    return files


def _fill(entry: ServerEntry, name: str, content: Content, credentials: Credentials) -> str:
    try:
        return content.fill(credentials)
    except FillError as error:
        raise ServerStartError(
            f"The server of '{entry.name}' could not be started for this person.",
            why=f"{entry.path or entry.name}.{name} {error}.",
            hint="Ask the provider for it (`scopes` of `auth`), or take the placeholder out of the entry.",
        ) from None
