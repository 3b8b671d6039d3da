"""The catalogue: servers of what people plan, write, draw and sell with. Data only; see `known_server`."""

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
    KnownServer(
        name="atlassian",
        title="Jira and Confluence (Atlassian Cloud)",
        entry={
            "package": "pypi:mcp-atlassian==0.23.1",
            "env": {
                "JIRA_URL": "${ATLASSIAN_SITE}",
                "CONFLUENCE_URL": "${ATLASSIAN_SITE}/wiki",
                "ATLASSIAN_OAUTH_CLOUD_ID": "${ATLASSIAN_CLOUD_ID}",
                "TOOLSETS": "all",
            },
            "auth": {
                "provider": "atlassian",
                "scopes": [
                    *("read:me", "read:jira-work", "read:jira-user", "write:jira-work"),
                    *("read:confluence-content.all", "search:confluence", "write:confluence-content"),
                    "offline_access",
                ],
                "env_var_name": "ATLASSIAN_OAUTH_ACCESS_TOKEN",
            },
        },
        asks={
            "ATLASSIAN_SITE": "the address of the site, such as https://your-company.atlassian.net",
            "ATLASSIAN_CLOUD_ID": "the cloud ID of the site: /_edge/tenant_info of its address tells it",
        },
        notes=("Without the cloud ID the server starts and has no tools.",),
    ),
    KnownServer(
        name="figma",
        title="Figma",
        entry={
            "package": "npm:figma-developer-mcp@0.13.2",
            "args": ["--stdio", "--no-telemetry"],
            "auth": {
                "provider": "figma",
                "scopes": ["current_user:read", "file_content:read"],
                "env_var_name": "FIGMA_OAUTH_TOKEN",
            },
        },
        wrong_variables={"FIGMA_API_KEY": "goes out as X-Figma-Token, as a personal access token"},
    ),
    KnownServer(
        name="asana",
        title="Asana",
        entry={
            "package": "npm:@roychri/mcp-server-asana@1.8.0",
            "auth": {
                "provider": "asana",
                "scopes": ["users:read", "workspaces:read", "projects:read", "tasks:read", "tasks:write"],
                "env_var_name": "ASANA_ACCESS_TOKEN",
            },
        },
    ),
    KnownServer(
        name="airtable",
        title="Airtable",
        entry={
            "package": "npm:airtable-mcp-server@1.14.0",
            "auth": {
                "provider": "airtable",
                "scopes": ["data.records:read", "data.records:write", "schema.bases:read"],
                "env_var_name": "AIRTABLE_API_KEY",
            },
        },
    ),
    KnownServer(
        name="todoist",
        title="Todoist",
        entry={
            "package": "npm:@doist/todoist-mcp@11.0.0",
            "auth": {
                "provider": "todoist",
                "scopes": ["data:read_write", "data:delete"],
                "env_var_name": "TODOIST_API_KEY",
            },
        },
        base_url="TODOIST_BASE_URL",
    ),
    KnownServer(
        name="monday",
        title="monday.com",
        entry={
            "package": "npm:@mondaydotcomorg/monday-api-mcp@3.3.0",
            "auth": {
                "provider": "monday",
                "scopes": ["me:read", "boards:read", "boards:write", "workspaces:read", "users:read"],
                "env_var_name": "MONDAY_TOKEN",
            },
        },
        notes=("The token goes out without Bearer, as the whole header.",),
    ),
    KnownServer(
        name="hubspot",
        title="HubSpot",
        entry={
            "package": "npm:@hubspot/mcp-server@0.4.0",
            "auth": {
                "provider": "hubspot",
                "scopes": ["oauth", "crm.objects.contacts.read"],
                "env_var_name": "PRIVATE_APP_ACCESS_TOKEN",
            },
        },
        base_url="BASE_URL_OVERRIDE",
    ),
)
