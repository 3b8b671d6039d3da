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
    KnownServer(
        name="gitlab",
        title="GitLab",
        entry={
            "package": "npm:@zereight/mcp-gitlab@2.1.64",
            "auth": {
                "provider": "gitlab",
                "scopes": ["api"],
                "env_var_name": "GITLAB_PERSONAL_ACCESS_TOKEN",
            },
        },
        base_url="GITLAB_API_URL",
        wrong_variables={"GITLAB_JOB_TOKEN": "goes out as JOB-TOKEN, which is for CI jobs"},
        notes=('For a GitLab of your own: "host" in the auth block, and its address in GITLAB_API_URL.',),
    ),
    KnownServer(
        name="gitlab-reference",
        title="GitLab (reference server)",
        entry={
            "package": "npm:@modelcontextprotocol/server-gitlab@2025.4.25",
            "auth": {
                "provider": "gitlab",
                "scopes": ["api"],
                "env_var_name": "GITLAB_PERSONAL_ACCESS_TOKEN",
            },
        },
        base_url="GITLAB_API_URL",
        notes=("GITLAB_API_URL ends in /api/v4.",),
    ),
    KnownServer(
        name="azure-devops",
        title="Azure DevOps",
        entry={
            "package": "npm:@azure-devops/mcp@2.9.0",
            "args": ["${AZURE_DEVOPS_ORGANIZATION}", "--authentication", "envvar"],
            "auth": {
                "provider": "microsoft",
                "tenant": "organizations",
                "scopes": ["499b84ac-1321-427f-aa17-267ca6975798/.default", "offline_access"],
                "env_var_name": "ADO_MCP_AUTH_TOKEN",
            },
        },
        asks={"AZURE_DEVOPS_ORGANIZATION": "the organisation: what follows dev.azure.com/"},
        register="In API permissions of the app: Azure DevOps, user_impersonation.",
        notes=("2.10.0 does not start without the install script of keytar.",),
    ),
    KnownServer(
        name="supabase",
        title="Supabase",
        entry={
            "package": "npm:@supabase/mcp-server-supabase@0.13.0",
            "auth": {
                "type": "oauth2",
                "flow": "pkce",
                "authorization_url": "https://api.supabase.com/v1/oauth/authorize",
                "token_url": "https://api.supabase.com/v1/oauth/token",
                "token_endpoint_auth_method": "basic",
                "client_id_env": "SUPABASE_CLIENT_ID",
                "client_secret_env": "SUPABASE_CLIENT_SECRET",
                "env_var_name": "SUPABASE_ACCESS_TOKEN",
            },
        },
        register="Dashboard of the organisation, OAuth Apps, Add application: the redirect URI, and the scopes, which "
        "are set there and not in the entry.",
    ),
    KnownServer(
        name="sentry",
        title="Sentry",
        entry={
            "package": "npm:@sentry/mcp-server@0.39.0",
            "auth": {
                "provider": "sentry",
                "scopes": ["org:read", "project:read", "team:read", "event:read"],
                "env_var_name": "SENTRY_ACCESS_TOKEN",
            },
        },
        base_url="SENTRY_HOST",
        notes=('For a Sentry of your own: "host" in the auth block, and the same host name in SENTRY_HOST.',),
    ),
)
