"""The catalogue: servers that want keys or passwords, which people type at a page of the gateway. Data only."""

from typing import Final

from fluidmcp.packages.catalogue.known_server import KnownServer

KEYS: Final = (
    KnownServer(
        name="datadog",
        title="Datadog",
        entry={
            "package": "npm:@winor30/mcp-server-datadog@1.8.0",
            "env": {
                "DATADOG_API_KEY": "${keys.api_key}",
                "DATADOG_APP_KEY": "${keys.app_key}",
            },
            "auth": {
                "type": "keys",
                "keys": {
                    "api_key": {
                        "title": "API key",
                        "help": "https://app.datadoghq.com/organization-settings/api-keys",
                    },
                    "app_key": {
                        "title": "Application key",
                        "help": "https://app.datadoghq.com/organization-settings/application-keys",
                    },
                },
                "verify": {
                    "url": "https://api.datadoghq.com/api/v1/validate",
                    "headers": {"DD-API-KEY": "${keys.api_key}"},
                },
            },
        },
        notes=(
            "For a site other than datadoghq.com: put DATADOG_SITE into env, and that site into the address of verify.",
            "verify asks whether the API key is good; nothing asks about the application key before a tool is called.",
        ),
    ),
    KnownServer(
        name="stripe",
        title="Stripe",
        entry={
            "package": "npm:@stripe/mcp@0.3.3",
            "env": {"STRIPE_SECRET_KEY": "${keys.api_key}"},
            "auth": {"type": "keys", "keys": {"api_key": {"title": "Restricted API key (rk_...)"}}},
        },
        notes=("It hands every request on to mcp.stripe.com, and has no tools of its own.",),
    ),
    KnownServer(
        name="grafana",
        title="Grafana",
        entry={
            "package": "pypi:mcp-grafana==2.1.1",
            "env": {"GRAFANA_URL": "${GRAFANA_URL}", "GRAFANA_SERVICE_ACCOUNT_TOKEN": "${keys.token}"},
            "auth": {"type": "keys", "keys": {"token": {"title": "Service account token"}}},
        },
        base_url="GRAFANA_URL",
        asks={"GRAFANA_URL": "the address of Grafana"},
    ),
    KnownServer(
        name="slack-browser",
        title="Slack, by the session of a browser",
        entry={
            "package": "npm:slack-mcp-server@1.3.0",
            "env": {"SLACK_MCP_XOXC_TOKEN": "${keys.token}", "SLACK_MCP_XOXD_TOKEN": "${keys.cookie}"},
            "auth": {
                "type": "keys",
                "keys": {
                    "token": {"title": "Token", "pattern": "xoxc-[0-9]+-[0-9]+-[0-9]+-[0-9a-z]{64}"},
                    "cookie": {"title": "Cookie d (xoxd-...)"},
                },
            },
        },
        notes=(
            "With a token of another form than xoxc-N-N-N-X (64 characters) it leaves the cookie out without a word.",
        ),
    ),
    KnownServer(
        name="atlassian-api-token",
        title="Jira and Confluence (Atlassian Cloud), by API token",
        entry={
            "package": "pypi:mcp-atlassian==0.23.1",
            "env": {
                "JIRA_URL": "${ATLASSIAN_SITE}",
                "JIRA_USERNAME": "${keys.email}",
                "JIRA_API_TOKEN": "${keys.token}",
                "CONFLUENCE_URL": "${ATLASSIAN_SITE}/wiki",
                "CONFLUENCE_USERNAME": "${keys.email}",
                "CONFLUENCE_API_TOKEN": "${keys.token}",
                "TOOLSETS": "all",
            },
            "auth": {
                "type": "keys",
                "keys": {"email": {"title": "Mail address", "secret": False}, "token": {"title": "API token"}},
            },
        },
        asks={"ATLASSIAN_SITE": "the address of the site, such as https://your-company.atlassian.net"},
    ),
    KnownServer(
        name="postgres",
        title="PostgreSQL, read only",
        entry={
            "package": "npm:@modelcontextprotocol/server-postgres@0.6.2",
            "args": ["postgresql://${keys.user|url}:${keys.password|url}@${POSTGRES_HOST}/${POSTGRES_DATABASE}"],
            "secrets_in_args": True,
            "auth": {
                "type": "keys",
                "keys": {"user": {"title": "User", "secret": False}, "password": {"title": "Password"}},
            },
        },
        asks={
            "POSTGRES_HOST": "the host of the database, with :PORT where it is not 5432",
            "POSTGRES_DATABASE": "the name of the database",
        },
        notes=("The address with the password is an argument: every user of the machine can read it.",),
    ),
)
