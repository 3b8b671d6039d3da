"""The operator's file of MCP clients: those that need not register, and those that are shut out. Read strictly."""

import fnmatch
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast
from urllib.parse import urlsplit

from fluidmcp.config.reading import ObjectReader, name_type
from fluidmcp.config.redirects import check_redirect_uri
from fluidmcp.errors import ConfigurationError

MAX_FILE_BYTES: Final = 1024 * 1024
MAX_NAME_CHARACTERS: Final = 80

_KEYS: Final = frozenset({"clients", "denied", "dynamic_registration"})
_CLIENT_KEYS: Final = frozenset({"client_id", "client_name", "redirect_uris"})
_CLIENT_ID: Final = re.compile(r"[\x21-\x7e]{1,512}", re.ASCII)
_HOST_PATTERN: Final = re.compile(r"(\*\.)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?", re.ASCII)
_SCHEME_PATTERN: Final = re.compile(r"[a-z][a-z0-9+.-]*:", re.ASCII)
SEALED_PREFIX: Final = "fmcp1."


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfiguredClient:
    """A client that the operator entered."""

    client_id: str
    client_name: str
    redirect_uris: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientRules:
    """What the operator says about MCP clients; by default nothing: every client may ask a person."""

    clients: tuple[ConfiguredClient, ...] = ()
    denied: tuple[str, ...] = ()
    dynamic_registration: bool = True

    def denies(self, *, client_id: str, redirect_uris: Sequence[str] = ()) -> bool:
        """Whether a client is shut out: by its id, the host of its document, or where its answers would go."""
        if not self.denied:
            return False
        traits = {client_id, *(trait for uri in (client_id, *redirect_uris) for trait in _traits(uri))}
        return any(
            trait == pattern or (pattern.startswith("*.") and fnmatch.fnmatchcase(trait, pattern))
            for pattern in self.denied
            for trait in traits
        )


def _traits(uri: str) -> tuple[str, ...]:
    """The host and port, the host, and the scheme of an address."""
    try:
        parts = urlsplit(uri)
        host = (parts.hostname or "").lower()
    except ValueError:
        return ()
    names = (host, parts.netloc.lower()) if host and parts.scheme in ("https", "http") else ()
    return (*names, f"{parts.scheme}:") if parts.scheme else names


def parse_clients_file(text: bytes, *, source: str) -> ClientRules:
    """The rules in a file; `source` names it in messages.

    Raises:
        ConfigurationError: names every fault by its path in the file; values are not repeated.
    """
    faults: list[str] = []
    reader = ObjectReader(_decode(text, source=source), path="$", faults=faults)
    for key in reader.unknown(_KEYS):
        reader.fault(key, "is not known here")
    rules = ClientRules(
        clients=_read_clients(reader),
        denied=_read_denied(reader),
        dynamic_registration=reader.flag("dynamic_registration", default=True),
    )
    ids = [client.client_id for client in rules.clients]
    if len(ids) != len(set(ids)):
        reader.fault("clients", "holds a client_id twice")
    if faults:
        raise ConfigurationError(
            f"The clients file {source} is not valid.",
            why="; ".join(fault.removeprefix("$.") for fault in faults) + ".",
            hint="Correct the file and run the command again.",
        )
    return rules


def _decode(text: bytes, *, source: str) -> object:
    what = f"{source} cannot be read as JSON."
    if len(text) > MAX_FILE_BYTES:
        raise ConfigurationError(what, why=f"It is larger than {MAX_FILE_BYTES} bytes.")
    try:
        return json.loads(text.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        why = f"Line {error.lineno}, column {error.colno}: {error.msg}."
        raise ConfigurationError(what, why=why, hint="Correct the file and run the command again.") from None
    except (ValueError, RecursionError):
        raise ConfigurationError(what, why="It is not UTF-8, or nested too deeply.") from None


def _read_clients(reader: ObjectReader) -> tuple[ConfiguredClient, ...]:
    value = reader.get("clients")
    if value is None:
        return ()
    if not isinstance(value, list):
        reader.fault("clients", f"must be a list of objects, not {name_type(value)}")
        return ()
    clients: list[ConfiguredClient] = []
    for number, item in enumerate(cast("Sequence[object]", value)):
        nested = ObjectReader(item, path=f"clients[{number}]", faults=reader.faults)
        if nested.is_object:
            clients.append(_read_client(nested))
    return tuple(clients)


def _read_client(reader: ObjectReader) -> ConfiguredClient:
    for key in reader.unknown(_CLIENT_KEYS):
        reader.fault(key, "is not known here")
    client_id = reader.required_text("client_id") or ""
    if client_id and (not _CLIENT_ID.fullmatch(client_id) or client_id.startswith(SEALED_PREFIX)):
        reader.fault("client_id", f"must be printable ASCII without spaces, and not begin with {SEALED_PREFIX}")
    name = reader.required_text("client_name") or ""
    if name and (not name.isprintable() or len(name) > MAX_NAME_CHARACTERS):
        reader.fault("client_name", f"must be printable text of at most {MAX_NAME_CHARACTERS} characters")
    redirect_uris = reader.texts("redirect_uris")
    if not redirect_uris:
        reader.fault("redirect_uris", "must hold at least one address")
    for number, uri in enumerate(redirect_uris):
        fault = check_redirect_uri(uri)
        if fault is not None:
            reader.faults.append(f"{reader.path_of('redirect_uris')}[{number}] {fault}")
    return ConfiguredClient(client_id=client_id, client_name=name, redirect_uris=redirect_uris)


def _read_denied(reader: ObjectReader) -> tuple[str, ...]:
    denied = reader.texts("denied")
    for number, pattern in enumerate(denied):
        is_pattern = _HOST_PATTERN.fullmatch(pattern) or _SCHEME_PATTERN.fullmatch(pattern)
        if not is_pattern and not (_CLIENT_ID.fullmatch(pattern) and not pattern.startswith("*")):
            reader.faults.append(
                f"denied[{number}] must be a client id, a host (*.example.com for all below it), or a scheme with colon"
            )
    return denied
