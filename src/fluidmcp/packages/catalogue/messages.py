"""The catalogue: servers of mail, chat, files and calendars. Data only; see `known_server`."""

from typing import Final

from fluidmcp.packages.catalogue.known_server import KnownServer

_GOOGLE_LOGIN: Final = {
    "access_token": "${auth.access_token}",
    "token_type": "Bearer",
    "expiry_date": {"number": "${auth.expires_at_ms}"},
}
"""As Google's library for Node keeps a login, without the refresh token: the gateway renews it."""
_GOOGLE_CLIENT: Final = {
    "installed": {
        "client_id": "${auth.client_id}",
        "client_secret": "is-with-the-gateway",
        "redirect_uris": ["http://localhost"],
    }
}
"""The registration that servers want to read although they use nothing of it while the access token is good."""

MESSAGES: Final = (
    KnownServer(
        name="slack",
        title="Slack",
        entry={
            "package": "npm:@modelcontextprotocol/server-slack@2025.4.25",
            "env": {"SLACK_TEAM_ID": "${SLACK_TEAM_ID}"},
            "auth": {
                "provider": "slack",
                "scopes": ["channels:read", "channels:history", "chat:write", "users:read", "users.profile:read"],
                "env_var_name": "SLACK_BOT_TOKEN",
            },
        },
        asks={"SLACK_TEAM_ID": "the ID of the workspace, which begins with T"},
        notes=("The variable is called after a bot; with the token of a person the server does what that person may.",),
    ),
    KnownServer(
        name="slack-search",
        title="Slack, with search and without a bot",
        entry={
            "package": "npm:slack-mcp-server@1.3.0",
            "auth": {
                "provider": "slack",
                "scopes": [
                    *("channels:history", "channels:read", "groups:history", "groups:read", "im:history", "im:read"),
                    *("mpim:history", "mpim:read", "search:read", "users:read"),
                ],
                "env_var_name": "SLACK_MCP_XOXP_TOKEN",
            },
        },
        notes=(
            "It reads the lists of people and channels before it answers: a large workspace takes its time.",
            "HTTPS_PROXY is not heeded; SLACK_MCP_PROXY is.",
        ),
    ),
    KnownServer(
        name="gmail",
        title="Gmail",
        entry={
            "package": "npm:@gongrzhe/server-gmail-autoauth-mcp@1.1.11",
            "files": {
                "~/.gmail-mcp/credentials.json": {"json": _GOOGLE_LOGIN},
                "~/.gmail-mcp/gcp-oauth.keys.json": {"json": _GOOGLE_CLIENT},
            },
            "auth": {
                "provider": "google",
                "scopes": [
                    "https://www.googleapis.com/auth/gmail.modify",
                    "https://www.googleapis.com/auth/gmail.settings.basic",
                ],
            },
        },
    ),
    KnownServer(
        name="google-drive",
        title="Google Drive",
        entry={
            "package": "npm:@modelcontextprotocol/server-gdrive@2025.1.14",
            "files": {"drive.json": {"json": _GOOGLE_LOGIN, "env": "GDRIVE_CREDENTIALS_PATH"}},
            "auth": {"provider": "google", "scopes": ["https://www.googleapis.com/auth/drive.readonly"]},
        },
    ),
    KnownServer(
        name="google-calendar",
        title="Google Calendar",
        entry={
            "package": "npm:@cocal/google-calendar-mcp@2.6.3",
            "files": {
                "client.json": {"json": _GOOGLE_CLIENT, "env": "GOOGLE_OAUTH_CREDENTIALS"},
                "tokens.json": {"json": {"normal": _GOOGLE_LOGIN}, "env": "GOOGLE_CALENDAR_MCP_TOKEN_PATH"},
            },
            "auth": {"provider": "google", "scopes": ["https://www.googleapis.com/auth/calendar"]},
        },
    ),
    KnownServer(
        name="google-analytics",
        title="Google Analytics",
        entry={
            "package": "pypi:analytics-mcp==0.8.0",
            "files": {
                "google.json": {
                    "json": {
                        "type": "authorized_user",
                        "client_id": "${auth.client_id}",
                        "client_secret": "is-with-the-gateway",
                        "refresh_token": "is-with-the-client",
                        "token": "${auth.access_token}",
                        "expiry": "2099-12-31T00:00:00Z",
                    },
                    "env": "GOOGLE_APPLICATION_CREDENTIALS",
                }
            },
            "auth": {"provider": "google", "scopes": ["https://www.googleapis.com/auth/analytics.readonly"]},
        },
        notes=(
            "The expiry in its file is far away on purpose: the gateway renews the token, and starts a new process.",
        ),
    ),
    KnownServer(
        name="microsoft-365",
        title="Microsoft 365",
        entry={
            "package": "npm:@softeria/ms-365-mcp-server@0.155.0",
            "auth": {
                "provider": "microsoft",
                "tenant": "organizations",
                "scopes": ["User.Read", "Mail.ReadWrite", "Calendars.ReadWrite", "Files.ReadWrite", "offline_access"],
                "env_var_name": "MS365_MCP_OAUTH_TOKEN",
            },
        },
        register="In API permissions of the app: Microsoft Graph, the delegated permissions of the scopes.",
    ),
)
