"""docs/servers.md, made from the catalogue and from what the tests saw of its servers."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fluidmcp.packages.catalogue.describe import (
    describe_credential,
    entry_to_copy,
    find_provider,
    has_redirect,
    list_exports,
    list_remarks,
    name_keys,
    name_provider,
)
from fluidmcp.packages.catalogue.find import show_package
from fluidmcp.packages.catalogue.known_server import KnownServer
from fluidmcp.packages.catalogue.table import KNOWN_SERVERS

ROOT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = ROOT / "docs" / "servers.md"
SEEN: Final = ROOT / "tests" / "known_servers" / "seen.toml"

Seen = Mapping[str, Mapping[str, Any]]
"""By server: `package`, `proof` ("call" or "tools"), `tools`; with a call also `tool`, and `credential`, which has the
forms of a credential in each request that held it."""

_HEAD: Final = """# Known servers

Published MCP servers with an entry that works: each person who logs in gets a process of their own, with
their token or their keys.

```bash
fluidmcp catalogue          # this list
fluidmcp add linear         # write an entry into fluidmcp.json; says what to register and what to export
```

Made by `scripts/update-docs` from `src/fluidmcp/packages/catalogue` and from what the tests saw. They install the very
version from its registry, and run the entry in the real gateway with two people logged in at once.

- *Call*: both called a tool, and the request was seen where the API would be, with each person's own credential in the
  form that is shown, where TOKEN is what that person alone has.
- *Start*: the server started with the credential and listed its tools; how it sends that was not seen.

The APIs and the logins were played by the tests: nobody logged in at the real providers. Another version may do
otherwise, so the entries name theirs. Redirect URIs are those of a gateway on this machine; with `--public-url URL`,
`fluidmcp add` prints yours. Where an API gives keys and no OAuth, people type [keys](keys.md) on a page of the gateway.

A server that is not here: [from its README to an entry](package-login.md#from-the-readme-of-a-server-to-an-entry).

"""
_OTHER_PLACES: Final = {"body": "body", "target": "address"}
NOT_TRIED: Final = "not tried in this version"


def load_seen() -> Seen:
    return tomllib.loads(SEEN.read_text(encoding="utf-8")) if SEEN.exists() else {}


def render_page(seen: Seen, servers: Mapping[str, KnownServer] = KNOWN_SERVERS) -> str:
    """The text of docs/servers.md."""
    rows = "".join(
        f"| [{server.title}](#{name}) | `{show_package(server)}` | {describe_credential(server)} "
        f"| {describe_proof(server, seen)} |\n"
        for name, server in servers.items()
    )
    table = f"| server | package | a person's token or key goes in as | proven by |\n|---|---|---|---|\n{rows}"
    return _HEAD + table + "".join(_section(server, seen) for server in servers.values())


def describe_proof(server: KnownServer, seen: Seen) -> str:
    """What was seen of the version in the entry."""
    record = seen.get(server.name)
    if record is None or record["package"] != server.entry.get("package"):
        return NOT_TRIED
    if record["proof"] != "call":
        return f"start: {record['tools']} tools listed"
    forms = sorted({form for forms in record["credential"].values() for form in forms})
    return f"call of `{record['tool']}`, seen at the API as {' and '.join(map(_show, forms))}"


def _show(form: str) -> str:
    """A header as people write it, whose name is in small letters in what was seen; or where else the token was."""
    name, _, value = form.partition(": ")
    if name in _OTHER_PLACES:
        return f"`{value}` in the {_OTHER_PLACES[name]}"
    return f"`{'-'.join(part.capitalize() for part in name.split('-'))}: {value}`"


def _section(server: KnownServer, seen: Seen) -> str:
    proof = describe_proof(server, seen)
    proven = proof if proof == NOT_TRIED else f"proven by a {proof}"
    parts = [
        f"\n## {server.name}\n\n{server.title}: `{show_package(server)}`, {proven}.\n",
        f"```json\n{entry_to_copy(server, name=server.name)}\n```\n",
    ]
    preset = find_provider(server)
    if has_redirect(server):
        name = name_provider(server)
        where = name if preset is None else f"[{name}](providers/presets.md#{preset.name})"
        parts.append(f"Register `http://localhost:8099/{server.name}/auth/callback` with {where}.\n")
    keys = name_keys(server)
    if keys:
        login = f"http://localhost:8099/{server.name}/auth/login"
        parts.append(f"Nothing to register. At `{login}` each person types: {keys}.\n")
    if server.register:
        parts.append(f"{server.register}\n")
    exports = "\n".join(export.line for export in list_exports(server))
    if exports:
        parts.append(f"```bash\n{exports}\n```\n")
    remarks = "".join(f"- {remark}\n" for remark in list_remarks(server))
    return "\n".join((*parts, remarks) if remarks else parts)


if __name__ == "__main__":
    PAGE.write_text(render_page(load_seen()), encoding="utf-8")
