"""The catalogue: servers of what people plan, write and draw with. Data only; see `known_server`."""

from typing import Final

from fluidmcp.packages.catalogue.known_server import KnownServer

WORK: Final = (
    KnownServer(
        name="notion",
        title="Notion",
        entry={
            "package": "npm:@notionhq/notion-mcp-server@2.5.2",
            "auth": {"provider": "notion", "env_var_name": "NOTION_TOKEN"},
        },
        base_url="BASE_URL",
        notes=("OPENAPI_MCP_HEADERS, where it is set and holds a header, takes the place of NOTION_TOKEN.",),
    ),
    KnownServer(
        name="linear",
        title="Linear",
        entry={
            "package": "npm:@tacticlaunch/mcp-linear@1.4.3",
            "auth": {
                "provider": "linear",
                "scopes": ["read", "write"],
                "env_var_name": "LINEAR_OAUTH_ACCESS_TOKEN",
            },
        },
        wrong_variables={
            "LINEAR_API_TOKEN": "goes out without Bearer, as an API key of Linear",
            "LINEAR_API_KEY": "goes out without Bearer, as an API key of Linear",
        },
    ),
)
