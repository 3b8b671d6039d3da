"""Known servers in words, for a terminal and for the documentation. Pure module: no I/O."""

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from fluidmcp.config.auth_block import list_rules, parse_auth_block
from fluidmcp.config.filling.templates import ACCESS_TOKEN
from fluidmcp.config.logins.keys import PersonKey
from fluidmcp.config.providers.fill import default_variables
from fluidmcp.config.providers.preset import Preset
from fluidmcp.config.providers.table import find_preset
from fluidmcp.config.reading import ObjectReader, as_object, list_texts
from fluidmcp.packages.catalogue.find import read_package
from fluidmcp.packages.catalogue.known_server import EMPTY, KnownServer

_ONE_PLACEHOLDER: Final = re.compile(r"\$\{[^{}]*\}")
_TOKEN: Final = f"${{{ACCESS_TOKEN}"
_ANYBODY: Final = '"allow_any_user": true'


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """A variable that the operator exports before the gateway starts."""

    name: str
    example: str
    note: str = ""
    is_required: bool = True

    @property
    def line(self) -> str:
        """The line for a shell."""
        return f'export {self.name}="{self.example}"' + (f"  # {self.note}" if self.note else "")


def find_provider(server: KnownServer) -> Preset | None:
    """The preset that its entry names; None where it names none."""
    return find_preset(str(read_auth(server).get("provider", "")))


def read_auth(server: KnownServer) -> Mapping[str, Any]:
    """The `auth` block of its entry; empty where it has none."""
    return as_object(write_entry(server).get("auth")) or EMPTY


def show_provider(server: KnownServer) -> str:
    """The name of its provider, or the host of one without a preset; else the kind of its login, or `-`."""
    auth = read_auth(server)
    host = urlsplit(str(auth.get("authorization_url", ""))).hostname
    return str(auth.get("provider") or host or auth.get("type") or "-")


def name_provider(server: KnownServer) -> str:
    """Its provider as a sentence calls it."""
    preset = find_provider(server)
    return show_provider(server) if preset is None else preset.title


def has_redirect(server: KnownServer) -> bool:
    """Whether its login is at a provider, with which a redirect URI is registered."""
    auth = read_auth(server)
    return "provider" in auth or "authorization_url" in auth


def describe_rules(server: KnownServer) -> str:
    """What to put into its `auth` to say who is let in: only what its provider tells of people, and for which scopes.

    The names of keys stand in double quotes.
    """
    reader = ObjectReader(dict(read_auth(server)), path="auth", faults=[])
    block = parse_auth_block(reader, allowed_env_names=frozenset())
    if block is None:
        return f"put {_ANYBODY} into auth."
    rules = list_rules(block)
    text = f"put {_enumerate((*_quote(rules), _ANYBODY), 'or')} into auth"
    scopes = _list_identity_scopes(find_provider(server))
    with_scopes = list_rules(replace(block, scopes=(*block.scopes, *scopes)))
    others = [key for key in with_scopes if key not in rules and ("email" in scopes or key != "allowed_domains")]
    if not others:
        return f"{text}."
    needs = "needs" if len(others) == 1 else "need"
    return f"{text}; {_enumerate(_quote(others), 'and')} {needs} {_enumerate(_quote(scopes), 'and')} in its scopes."


def _list_identity_scopes(preset: Preset | None) -> tuple[str, ...]:
    """The scopes for which an ID token says who somebody is; none where there are no ID tokens."""
    if preset is None:
        return ()
    if preset.check in ("google", "gitlab"):
        return ("openid", "email")
    # Entra ID, for one, does not say whether it verified an address.
    return ("openid",) if preset.issuer is not None or "openid" in preset.scopes else ()


def _quote(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(f'"{name}"' for name in names)


def _enumerate(names: Sequence[str], word: str) -> str:
    *others, last = names
    return f"{', '.join(others)} {word} {last}" if others else last


def list_exports(server: KnownServer) -> tuple[Export, ...]:
    """What the operator exports: the client at the provider, and what else the server asks for."""
    client = tuple(_list_client(server))
    names = {export.name for export in client}
    others = (Export(name=name, example="...", note=what) for name, what in server.asks.items() if name not in names)
    return (*client, *others)


def _list_client(server: KnownServer) -> Iterator[Export]:
    auth = read_auth(server)
    if not has_redirect(server):
        return
    id_variable, secret_variable = default_variables(str(auth["provider"])) if "provider" in auth else ("", "")
    id_variable = auth.get("client_id_env", "" if "client_id" in auth else id_variable)
    if id_variable:
        yield Export(name=str(id_variable), example="your-client-id")
    if auth.get("token_endpoint_auth_method") == "none":
        return
    secret_variable = auth.get("client_secret_env", secret_variable)
    if secret_variable:
        preset = find_provider(server)
        is_needed = preset is not None and preset.needs_secret
        is_required = is_needed or auth.get("token_endpoint_auth_method") in ("basic", "post")
        note = "" if is_required else "leave it out for a client without a secret"
        yield Export(name=str(secret_variable), example="your-client-secret", note=note, is_required=is_required)


def describe_needs(server: KnownServer) -> str:
    """The variables to export: `LINEAR_CLIENT_ID, [LINEAR_CLIENT_SECRET]`; those that may be left out in brackets."""
    names = [export.name if export.is_required else f"[{export.name}]" for export in list_exports(server)]
    return ", ".join(names) or "-"


def list_right_variables(server: KnownServer) -> tuple[str, ...]:
    """The variables in which its entry hands over the token."""
    short = read_auth(server).get("env_var_name")
    env = as_object(write_entry(server).get("env")) or {}
    placed = (name for name, value in env.items() if any(_TOKEN in text for text in list_texts(value)))
    return (*((str(short),) if short else ()), *placed)


def describe_credential(server: KnownServer) -> str:
    """How the credential of a person goes in, in words; of several keys each, after what a person calls it."""
    entry = write_entry(server)
    by_key = {key.label: _describe_ways(entry, f"${{keys.{key.name}") for key in list_keys(server)}
    if by_key:
        return "; ".join(f"{label}: {ways}" for label, ways in by_key.items())
    short = read_auth(server).get("env_var_name")
    ways = _describe_ways(entry, _TOKEN)
    return ", ".join((*((f"`{short}`",) if short else ()), *((ways,) if ways else ()))) or "-"


def list_keys(server: KnownServer) -> tuple[PersonKey, ...]:
    """What a person types at the page of the gateway; empty where its login is none of keys."""
    auth = read_auth(server)
    keys = as_object(auth.get("keys")) if auth.get("type") == "keys" else None
    return tuple(
        PersonKey(name=name, title=str((as_object(key) or {}).get("title", ""))) for name, key in (keys or {}).items()
    )


def name_keys(server: KnownServer) -> str:
    """What a person types, as a sentence lists it; empty where there is nothing."""
    return ", ".join(key.label for key in list_keys(server))


def _describe_ways(entry: Mapping[str, object], credential: str) -> str:
    """Where the entry puts a credential, of which the placeholder begins so."""
    mark = re.compile(re.escape(credential) + r"[}|]")
    ways = [f"`{name}`" for name in _list_variables(entry, mark)]
    for name, file in (as_object(entry.get("files")) or {}).items():
        if _holds(file, mark):
            variable = (as_object(file) or {}).get("env")
            ways.append(f"a file that `{variable}` names" if variable else f"the file `{name}`")
    if _holds(entry.get("args"), mark):
        ways.append("an argument")
    return ", ".join(ways)


def _list_variables(entry: Mapping[str, object], mark: re.Pattern[str]) -> Iterator[str]:
    for name, value in (as_object(entry.get("env")) or {}).items():
        if not _holds(value, mark):
            continue
        if isinstance(value, str):
            yield name if _ONE_PLACEHOLDER.fullmatch(value) else f"{name}={value}"
        else:
            yield f"{name} (JSON)"


def _holds(value: object, mark: re.Pattern[str]) -> bool:
    return any(mark.search(text) for text in list_texts(value))


def write_entry(server: KnownServer) -> dict[str, object]:
    """Its entry as it is decoded from a file: objects, lists, texts."""
    return msgspec.to_builtins(dict(server.entry))


def entry_to_copy(server: KnownServer, *, name: str) -> str:
    """A file with the server alone, as JSON."""
    return json.dumps({"mcpServers": {name: write_entry(server)}}, indent=2, ensure_ascii=False)


def install_command(server: KnownServer) -> str | None:
    """The command that installs its package; None where it has none of a registry."""
    package = read_package(server)
    if package is None:
        return None
    python = server.entry.get("python")
    option = f" --python {shlex.quote(str(python))}" if python else ""
    return f"fluidmcp install {shlex.quote(str(package))}{option}"


def list_remarks(server: KnownServer) -> tuple[str, ...]:
    """What is to know beyond the entry, a sentence each."""
    by_effect: dict[str, list[str]] = {}
    for name, effect in server.wrong_variables.items():
        by_effect.setdefault(effect, []).append(name)
    remarks = [f"A person's token in {' or '.join(names)} {effect}." for effect, names in by_effect.items()]
    is_told = server.base_url in server.asks or any(str(server.base_url) in note for note in server.notes)
    if server.base_url is not None and not is_told:
        remarks.append(f"Where its API has another address, put that into env as {server.base_url}.")
    return (*remarks, *server.notes)
