"""The catalogue: servers of code hosts and of what watches code. Data only; see `known_server`."""

from typing import Final

from fluidmcp.packages.catalogue.known_server import KnownServer

CODE_HOSTS: Final = (
    KnownServer(
        name="github",
        title="GitHub",
        entry={
            "package": "npm:@modelcontextprotocol/server-github@2025.4.8",
            "auth": {
                "provider": "github",
                "scopes": ["repo", "read:user"],
                "env_var_name": "GITHUB_PERSONAL_ACCESS_TOKEN",
            },
        },
        notes=("It calls api.github.com and no other address: GitHub Enterprise Server is out of its reach.",),
    ),
)
