"""Which client gets what from which server: the table of docs/compatibility.md, read from its data file."""

import re
import sys
import tomllib
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec

from tests import parts

ROOT: Final = Path(__file__).resolve().parents[2]
FOLDER: Final = Path(__file__).resolve().parent
NPM_PINS: Final = "tests/parts/package.json"
PAGE: Final = ROOT / "docs" / "compatibility.md"

Feature: TypeAlias = Literal["progress", "elicitation", "cancellation"]
LETTERS: Final[dict[Feature, str]] = {"progress": "P", "elicitation": "Q", "cancellation": "C"}

HEAD: Final = """\
# Clients and servers

What real clients get through the gateway from a stdio server of their own era, of the other one, and of both.

| | |
|---|---|
| T | lists the tools and calls one |
| P | receives progress while a call runs |
| Q | answers a question of the server in the middle of a call (elicitation) |
| C | cancels a call, and the server notices |
| - | the client cannot ask for it; the reasons stand below |

Made by `scripts/update-docs` from `tests/clients/compatibility.toml`. A test drives each client against each server and
compares.
"""


class Client(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A client in one of its modes. The fields are explained in compatibility.toml."""

    id: str
    title: str
    driver: str
    version_of: str
    pinned_in: str
    protocol: str
    mode: str = ""
    runs_in: str = ""
    without: dict[Feature, str] = {}

    @property
    def npm_folder(self) -> Path | None:
        """Where its npm package is, or None for a client in Python."""
        return parts.NODE_MODULES / self.version_of if self.pinned_in == NPM_PINS else None

    @property
    def interpreter(self) -> Path | None:
        """What runs its driver; None where there is no Node."""
        if self.runs_in == "node":
            return parts.node_path()
        return parts.ROOT / ".parts" / self.runs_in / "bin" / "python" if self.runs_in else Path(sys.executable)

    def find_missing(self) -> str | None:
        """None when the client can run; otherwise what is missing and how to get it."""
        if (self.npm_folder or self.runs_in == "node") and parts.node_path() is None:
            return parts.missing_part("node")
        for path in (self.interpreter, self.npm_folder):
            if path is not None and not path.exists():
                return f"{self.version_of} is missing: run scripts/install-parts"
        return None


class Compatibility(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """`servers`: what each package of the test is. `clients`: the rows of the table."""

    servers: dict[str, str]
    clients: list[Client]


def load_compatibility() -> Compatibility:
    text = (FOLDER / "compatibility.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), Compatibility)


def read_version(client: Client) -> str:
    """The exact version that the tests run. Raises LookupError when the file pins none."""
    text = (ROOT / client.pinned_in).read_text(encoding="utf-8")
    name = re.escape(client.version_of)
    pinned = re.search(rf'(?m)^[\s"]*{name}(?:==|": ")([0-9][0-9A-Za-z.]*)"?,?$', text)
    if pinned is None:
        raise LookupError(f"{client.pinned_in} pins no version of {client.version_of}")
    return pinned[1]


def render_page(table: Compatibility) -> str:
    """The text of docs/compatibility.md."""
    columns = ["client", "version", "revision", *table.servers.values()]
    rows = [
        [client.title, read_version(client), client.protocol, *[_show_features(client)] * len(table.servers)]
        for client in table.clients
    ]
    reasons = [
        [client.title, feature, reason] for client in table.clients for feature, reason in client.without.items()
    ]
    missing = _table(["client", "without", "because it"], reasons)
    return f"{HEAD}\n{_table(columns, rows)}\n## What a client cannot do\n\n{missing}"


def _show_features(client: Client) -> str:
    return " ".join(["T", *("-" if feature in client.without else letter for feature, letter in LETTERS.items())])


def _table(columns: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(cells) + " |\n" for cells in (columns, *rows)]
    return "".join([lines[0], "|" + "---|" * len(columns) + "\n", *lines[1:]])


if __name__ == "__main__":
    PAGE.write_text(render_page(load_compatibility()), encoding="utf-8")
