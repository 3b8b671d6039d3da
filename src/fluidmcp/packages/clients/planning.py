"""Which entries of a client's file have to change, so that it knows packages of a gateway or forgets them. Pure module.

An entry counts as one of the gateway by its address. What else somebody wrote into it stays, and an entry of the same
name that leads somewhere else is never touched.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, cast
from urllib.parse import urlsplit

from fluidmcp.config.reading import as_object, name_type, show_key
from fluidmcp.errors import ConfigurationError
from fluidmcp.packages.clients.endpoint import Endpoint
from fluidmcp.packages.clients.table import Entry, FileClient

_URL_KEYS: Final = ("url", "serverUrl", "httpUrl")
_CREDENTIAL_KEYS: Final = ("headers", "http_headers", "env_http_headers", "bearer_token_env_var", "requestInit")
"""Where clients keep what they show to the address."""

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Put:
    """A new entry."""

    place: Path
    name: str
    entry: Entry


@dataclass(frozen=True, slots=True)
class Replace:
    """Another value of one key of an entry, which may not have had one."""

    place: Path
    name: str
    key: str
    value: object
    what: Literal["address", "token"] = "address"
    """What it says, for people."""


@dataclass(frozen=True, slots=True)
class Remove:
    place: Path
    name: str


Change = Put | Replace | Remove


@dataclass(frozen=True, slots=True)
class Plan:
    changes: tuple[Change, ...]
    kept: tuple[str, ...] = ()
    """Names of entries that are there already, and right."""
    tokenless: tuple[str, ...] = ()
    """Names of entries that stay, or move, without the token that was asked for: they send something else, or start a
    command, whose arguments are somebody's own.
    """


def plan_adding(
    document: Mapping[str, object], client: FileClient, endpoints: Sequence[Endpoint], *, shown: str
) -> Plan:
    """What to change so that each endpoint is there; `shown` is what messages call the file.

    Raises:
        ConfigurationError: the servers are no object, or an entry of that name is another server.
    """
    places = _list_places(document, client)
    servers = {
        name: (place, entry) for place in places for name, entry in _read_servers(document, place, shown).items()
    }
    changes: list[Change] = []
    kept: list[str] = []
    tokenless: list[str] = []
    for endpoint in endpoints:
        same = next((name for name, (_, entry) in servers.items() if _read_url(entry) == endpoint.url), None)
        if same is None and endpoint.name not in servers:
            changes.append(Put(places[-1], endpoint.name, client.make_entry(endpoint)))
            continue
        name = endpoint.name if same is None else same
        place, entry = servers[name]
        changed = _move(place, endpoint, entry, shown) if same is None else []
        if not _sends_token(entry, client, endpoint.token_variable):
            added = _add_token(place, name, entry, client, endpoint.token_variable)
            changed += added
            tokenless += () if added else (name,)
        changes += changed
        kept += () if changed else (name,)
    return Plan(tuple(changes), tuple(kept), tuple(tokenless))


def plan_removing(
    document: Mapping[str, object], client: FileClient, *, gateway_url: str, url: str | None, shown: str
) -> Plan:
    """What to change so that the package at `url` is gone, or with None every package of the gateway.

    Raises:
        ConfigurationError: the servers are no object.
    """
    changes: list[Change] = []
    for place in _list_places(document, client):
        servers = _read_servers(document, place, shown)
        for name, entry in servers.items():
            found = _read_url(entry)
            if found is not None and (found == url if url is not None else _is_of(found, gateway_url)):
                changes.append(Remove(place, name))
    return Plan(tuple(changes))


def apply_plan(document: Mapping[str, object], plan: Plan) -> dict[str, object]:
    """What the document is to say afterwards; the given one stays as it is."""
    changed = dict(document)
    for change in plan.changes:
        servers = changed
        for name in change.place:
            below = dict(as_object(servers.get(name)) or {})
            servers[name] = below
            servers = below
        match change:
            case Put(name=name, entry=entry):
                servers[name] = dict(entry)
            case Replace(name=name, key=key, value=value):
                servers[name] = {**(as_object(servers[name]) or {}), key: value}
            case Remove(name=name):
                del servers[name]
    return changed


def _sends_token(entry: object, client: FileClient, variable: str) -> bool:
    """Whether the entry sends the token in that variable; True where none is wanted."""
    if not variable or client.token_members is None:
        return True
    members = as_object(entry) or {}
    return all(members.get(key) == value for key, value in client.token_members(variable).items())


def _add_token(place: Path, name: str, entry: object, client: FileClient, variable: str) -> list[Replace]:
    """What the entry lacks to send the token in that variable.

    Nothing where it sends something already, or starts a command: beside one, Codex refuses its whole file.
    """
    members = as_object(entry) or {}
    if client.token_members is None or _shows_credentials(members) or not any(key in members for key in _URL_KEYS):
        return []
    return [Replace(place, name, key, value, "token") for key, value in client.token_members(variable).items()]


def _list_places(document: Mapping[str, object], client: FileClient) -> tuple[Path, ...]:
    """One, but for opencode 2, which has one more level beside the old one. A server may be called "servers", too.

    New entries go into the last one.
    """
    top = as_object(document.get(client.member))
    below = None if top is None else as_object(top.get("servers"))
    if client.key == "opencode" and below is not None and not isinstance(below.get("type"), str):
        return (client.member,), (client.member, "servers")
    return ((client.member,),)


def _read_servers(document: Mapping[str, object], place: Path, shown: str) -> dict[str, object]:
    members = document
    for number, name in enumerate(place, start=1):
        below = members.get(name, {})
        found = as_object(below)
        if found is None:
            raise ConfigurationError(
                f"{shown} is left as it is.",
                why=f"{'.'.join(map(show_key, place[:number]))} is {name_type(below)}, not an object.",
                hint="Correct it in the client, and run the command again.",
            )
        members = found
    return dict(members)


def _read_url(entry: object) -> str | None:
    """The address of an entry; for a command that leads to one, the first argument that is one."""
    members = as_object(entry) or {}
    arguments = members.get("args")
    candidates = [members.get(key) for key in _URL_KEYS]
    candidates += cast("list[object]", arguments) if isinstance(arguments, list) else []
    return next((text for text in candidates if isinstance(text, str) and _is_address(text)), None)


def _is_address(text: str) -> bool:
    return text.startswith(("http://", "https://"))


def _is_of(url: str, gateway_url: str) -> bool:
    """Whether it is `/{package}/mcp` of the gateway."""
    below = url.removeprefix(f"{gateway_url.rstrip('/')}/")
    return below != url and below.count("/") == 1 and below.endswith("/mcp")


def _move(place: Path, endpoint: Endpoint, entry: object, shown: str) -> list[Replace]:
    """The entry with another address, where it is the same package of a gateway that moved."""
    members = as_object(entry) or {}
    old = _read_url(entry)
    if old is None or _last_parts(old) != _last_parts(endpoint.url):
        raise ConfigurationError(
            f"{shown} has another server that is called {show_key(endpoint.name)}; it is left as it is.",
            why="Its address is another one." if old is not None else "It is started by a command.",
            hint=f"Choose another name: --as {endpoint.name[:38]}-2, with the name of one package.",
        )
    if _shows_credentials(members):
        raise ConfigurationError(
            f"{shown} has {show_key(endpoint.name)} at another address, with headers; it is left as it is.",
            why="What is in the headers would be sent to the new address from then on.",
            hint=f"If it is the same gateway, change the address by hand; else --as {endpoint.name[:38]}-2.",
        )
    key = next((key for key in _URL_KEYS if members.get(key) == old), None)
    if key is not None:
        return [Replace(place, endpoint.name, key, endpoint.url)]
    arguments = cast("list[object]", members["args"])
    moved = [endpoint.url if text == old else text for text in arguments]
    return [Replace(place, endpoint.name, "args", moved)]


def _shows_credentials(members: Mapping[str, object]) -> bool:
    arguments = members.get("args")
    listed = cast("list[object]", arguments) if isinstance(arguments, list) else []
    return any(members.get(key) for key in _CREDENTIAL_KEYS) or "--header" in listed


def _last_parts(url: str) -> list[str]:
    return urlsplit(url).path.split("/")[-2:]
