"""Questions that a tool asks in the middle of a call (elicitation), put to the person at the terminal."""

from collections.abc import Callable, Mapping
from typing import Final, cast
from urllib.parse import urlsplit

import click

from fluidmcp.cli.calls.arguments import list_kinds, read_value
from fluidmcp.cli.output import print_notice
from fluidmcp.config.urls import is_host_name
from fluidmcp.errors import GatewayAnswerError, UserError
from fluidmcp.observability.printable import make_printable

Json = dict[str, object]

MAX_SHOWN_CHARACTERS: Final = 2000
MAX_URL_CHARACTERS: Final = 8000
_ELICITATION: Final = "elicitation/create"


async def ask_person(method: str, params: Json, *, package: str, open_url: Callable[[str], None]) -> Json:
    """The person's answer, as an ElicitResult. Everything goes to stderr; what the server wrote is shown as text.

    Raises:
        GatewayAnswerError: it asks for something else than a person's answer.
        click.Abort: Ctrl-C or the end of the input.
    """
    if method != _ELICITATION:
        raise GatewayAnswerError(f"The tool asks for {_show(method)}, which the command line cannot give.")
    print_notice("")
    print_notice(f"{package} asks: {_show(params.get('message'))}")
    if params.get("mode") == "url":
        return _ask_to_visit(str(params.get("url", "")), open_url)
    schema = params.get("requestedSchema")
    properties = cast(Json, schema).get("properties") if isinstance(schema, dict) else None
    fields = cast(Json, properties) if isinstance(properties, dict) else {}
    if not _confirm("Answer?"):
        return {"action": "decline"}
    required = cast(Json, schema).get("required") if isinstance(schema, dict) else None
    needed = cast("list[object]", required) if isinstance(required, list) else []
    content: Json = {}
    for name, field in fields.items():
        described = cast(Json, field) if isinstance(field, dict) else {}
        value = _ask_field(name, described, is_required=name in needed)
        if value is not None:
            content[name] = value
    return {"action": "accept", "content": content}


def _ask_to_visit(url: str, open_url: Callable[[str], None]) -> Json:
    host = _read_host(url)
    if host is None:
        print_notice("It names an address that is none of the web, and is declined.")
        return {"action": "decline"}
    print_notice(f"It wants you to visit {host}:")
    print_notice(f"  {url}")
    if not _confirm("Open it?"):
        return {"action": "decline"}
    open_url(url)
    return {"action": "accept"}


def _read_host(url: str) -> str | None:
    """The host to which a browser goes; None where it might go to another one than we name.

    Browsers take a backslash for a slash and leave out line breaks, and letters of other alphabets look like ours.
    """
    if len(url) > MAX_URL_CHARACTERS or not url.isascii() or not url.isprintable() or set(url) & set(' \\"<>'):
        return None
    try:
        parts = urlsplit(url)
        has_port = parts.port != 0
    except ValueError:
        return None
    host = parts.hostname or ""
    is_plain = parts.scheme in ("https", "http") and "@" not in parts.netloc and has_port and is_host_name(host)
    return host if is_plain else None


def _ask_field(name: str, field: Mapping[str, object], *, is_required: bool) -> object:
    """The value of one field; None where it is left out."""
    schema = dict(field)
    label = _show(field.get("title") or name)
    if field.get("description"):
        print_notice(f"  {label}: {_show(field['description'])}")
    choices = _list_choices(schema)
    if choices:
        print_notice(f"  One of: {', '.join(map(_show, choices))}")
    default = schema.get("default")
    shown = "" if default is None else make_printable(str(default))[:MAX_SHOWN_CHARACTERS]
    while True:
        text: str = click.prompt(
            label + ("" if is_required or shown else " (may be empty)"),
            default=shown,
            show_default=bool(shown),
            err=True,
        )
        if not text and not is_required:
            return None
        if text == shown and default is not None:
            return default
        if choices and text not in choices and "array" not in list_kinds(schema):
            print_notice("  That is none of them.")
            continue
        try:
            value = read_value(name, text, schema)
        except UserError as error:
            print_notice(f"  {error.what} {error.why}")
            continue
        if text:
            return value


def _list_choices(schema: Json) -> list[str]:
    """The values of an enumeration, in each of the forms that the revisions have."""
    items = schema.get("items")
    place = cast(Json, items) if isinstance(items, dict) else schema
    listed = place.get("enum")
    if isinstance(listed, list):
        return [str(value) for value in cast("list[object]", listed)]
    titled = place.get("oneOf") or place.get("anyOf")
    named = [cast(Json, one) for one in cast("list[object]", titled) if isinstance(one, dict)] if titled else []
    return [str(one["const"]) for one in named if "const" in one]


def _confirm(question: str) -> bool:
    return click.confirm(question, default=True, err=True)


def _show(text: object) -> str:
    return make_printable(str(text or ""))[:MAX_SHOWN_CHARACTERS]
