"""The trials of known servers that want keys, by name."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from tests.known_servers.trial import Trial

_MCP: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "initialize": {
            "protocolVersion": "2025-06-18",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "stub", "version": "1"},
        },
        "notifications/initialized": {},
    }
)
"""Of an MCP server that stands behind the one that is tried."""


def _speak_mcp(where: str, **answers: Any) -> dict[str, Any]:
    named = {name.replace("_", "/"): answer for name, answer in answers.items()}
    return {f"{where}#{name}": answer for name, answer in {**_MCP, **named}.items()}


SLACK_ANSWERS: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "POST slack.com/api/auth.test": {
            **{"ok": True, "url": "https://team.slack.com/", "team": "Team", "user": "WHO"},
            **{"team_id": "T1", "user_id": "U1"},
        },
        "POST team.slack.com/api/users.list": {
            "ok": True,
            "members": [{"id": "U1", "name": "WHO", "real_name": "ferry of WHO", "profile": {}}],
        },
        "POST team.slack.com/api/conversations.list": {
            "ok": True,
            "channels": [{"id": "C1", "name": "general"}],
        },
        "POST team.slack.com/api/client.userBoot": {"ok": True},
    }
)
"""Of Slack to slack-mcp-server, whatever it logs in with."""

KEY_TRIALS: Final[Mapping[str, Trial]] = MappingProxyType(
    {
        "atlassian-api-token": Trial(
            tool="jira_search",
            arguments={"jql": "order by created", "limit": 1},
            keys={"email": "TOKEN@example.com", "token": "TOKEN"},
            hosts=("mine.atlassian.net",),
            exports={"ATLASSIAN_SITE": "https://mine.atlassian.net"},
            answers={
                "*/rest/api/3/search/jql": {
                    "issues": [{"id": "1", "key": "WHO-1", "fields": {"summary": "ticket of WHO"}}]
                }
            },
        ),
        "datadog": Trial(
            tool="list_dashboards",
            keys={"api_key": "TOKEN", "app_key": "TOKEN-of-the-application"},
            hosts=("api.datadoghq.com",),
            answers={
                "GET BASE/api/v1/validate": {"valid": True},
                "GET api.datadoghq.com/api/v1/dashboard": {
                    "dashboards": [{"id": "abc", "title": "board of WHO", "url": "/abc"}]
                },
            },
        ),
        "grafana": Trial(
            tool="search_folders",
            arguments={"query": "ferry"},
            keys={"token": "TOKEN"},
            base="STUB",
            exports={"GRAFANA_URL": "https://grafana.example.com"},
            answers={
                "GET BASE/api/search": [{"id": 1, "uid": "u", "title": "folder of WHO", "type": "dash-folder"}],
            },
        ),
        "postgres": Trial(
            tool="query",
            arguments={"sql": "SELECT name"},
            keys={"user": "user/TOKEN", "password": "p@ss:TOKEN"},
            exports={"POSTGRES_HOST": "DATABASE", "POSTGRES_DATABASE": "harbour"},
        ),
        "slack-browser": Trial(
            tool="users_search",
            arguments={"query": "ferry"},
            token="xoxc-1-2-3-{person:0<64}",
            keys={"token": "TOKEN", "cookie": "xoxd-TOKEN"},
            hosts=("slack.com", "team.slack.com", "edgeapi.slack.com"),
            env={"SLACK_MCP_PROXY": "STUB", "SLACK_MCP_SERVER_CA": "AUTHORITY"},
            answers={
                **SLACK_ANSWERS,
                "POST edgeapi.slack.com/cache/T1/users/search": {
                    "ok": True,
                    "results": [{"id": "U1", "name": "WHO", "real_name": "WHO", "profile": {"real_name": "WHO"}}],
                },
            },
        ),
        "stripe": Trial(
            tool="get_balance",
            token="rk_{person}",
            keys={"api_key": "TOKEN"},
            hosts=("mcp.stripe.com",),
            answers=_speak_mcp(
                "POST mcp.stripe.com/",
                tools_list={"tools": [{"name": "get_balance", "inputSchema": {"type": "object"}}]},
                tools_call={"content": [{"type": "text", "text": "balance of WHO"}]},
            ),
        ),
    }
)
