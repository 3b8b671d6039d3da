"""The trials of known servers that want keys, by name."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from tests.known_servers.trial import Trial
from tests.known_servers.trials import TRIALS

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
                "GET api.datadoghq.com/api/v1/dashboard": {
                    "dashboards": [{"id": "abc", "title": "board of WHO", "url": "/abc"}]
                }
            },
        ),
        "dbt": Trial(
            tool="list_metrics",
            keys={"token": "TOKEN"},
            exports={"DBT_HOST": "cloud.getdbt.com", "DBT_PROD_ENV_ID": "1"},
            hosts=("cloud.getdbt.com", "semantic-layer.cloud.getdbt.com"),
            answers={
                **_speak_mcp("POST cloud.getdbt.com/api/ai/v1/mcp/", tools_list={"tools": []}),
                "POST semantic-layer.cloud.getdbt.com/api/graphql": {
                    "data": {
                        "metricsPaginated": {
                            **{"pageNum": 1, "pageSize": 50, "totalItems": 1, "totalPages": 1},
                            "items": [{"name": "metric of WHO", "label": "l", "description": "d", "type": "SIMPLE"}],
                        }
                    }
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
        "pagerduty": Trial(
            tool="list_priorities",
            keys={"api_key": "TOKEN"},
            base="STUB",
            answers={"GET BASE/priorities": {"priorities": [{"id": "P1", "summary": "WHO", "type": "priority"}]}},
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
                **TRIALS["slack-search"].answers,
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
