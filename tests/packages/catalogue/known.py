"""Known servers of the tests' own, so that they say the same whatever the catalogue holds."""

from collections.abc import Mapping
from typing import Final

from fluidmcp.packages.catalogue.known_server import KnownServer

LINES: Final = KnownServer(
    name="lines",
    title="Lines",
    entry={
        "package": "npm:@somebody/mcp-lines@1.4.3",
        "auth": {"provider": "linear", "scopes": ["read"], "env_var_name": "LINES_OAUTH_TOKEN"},
    },
    base_url="LINES_URL",
    asks={"LINES_SITE": "the name of your site"},
    wrong_variables={"LINES_API_KEY": "goes out without Bearer", "LINES_KEY": "goes out without Bearer"},
    notes=("It surprises.",),
)
PAGES: Final = KnownServer(
    name="pages",
    title="Pages & More",
    entry={
        "package": "pypi:mcp-pages[all]==0.3.1",
        "python": "3.12",
        "args": ["--key", "${auth.access_token}"],
        "secrets_in_args": True,
        "env": {
            "PAGES_HEADERS": {"json": {"Authorization": "Bearer ${auth.access_token}"}},
            "PAGES_AUTH": "Bearer ${auth.access_token}",
            "PAGES_TOKEN": "${auth.access_token}",
            "PAGES_SITE": "${SITE}",
        },
        "files": {
            "~/.pages.json": {"json": {"token": "${auth.access_token}"}},
            "pages.ini": {"text": "token=${auth.access_token}", "env": "PAGES_FILE"},
            "~/.client.json": {"json": {"client_id": "${auth.client_id}"}},
        },
        "auth": {"provider": "notion", "client_id": "ours", "client_secret_env": None},
    },
    wrong_variables={"PAGES_PAT": "is sent as a password"},
)
KEYS: Final = KnownServer(
    name="keys",
    title="Keys",
    entry={
        "package": "npm:mcp-keys@2.0.0",
        "args": ["--key=${keys.api_key|url}"],
        "secrets_in_args": True,
        "env": {"KEYS_API_KEY": "${keys.api_key}", "KEYS_URL": "https://${keys.site_name}.example.com"},
        "auth": {"type": "keys", "keys": {"api_key": {"title": "API key"}, "site_name": {"secret": False}}},
    },
)
OPEN: Final = KnownServer(name="open", title="Open", entry={"command": "open-server", "args": ["--stdio"]})
KNOWN: Final[Mapping[str, KnownServer]] = {server.name: server for server in (LINES, PAGES, KEYS, OPEN)}
