"""The trials of all known servers, by name."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from fluidmcp.packages.catalogue.known_server import KnownServer
from fluidmcp.packages.catalogue.table import KNOWN_SERVERS
from tests.known_servers.key_trials import KEY_TRIALS, SLACK_ANSWERS
from tests.known_servers.trial import Trial

_PERSON: Final[Mapping[str, Any]] = {"id": "1", "gid": "1", "name": "WHO", "email": "WHO@example.com"}
_USER: Final = {"login": "WHO", "id": 1, "node_id": "1", "avatar_url": "", "url": "", "html_url": "", "type": "User"}
_LABEL: Final = {"id": "1", "name": "WHO", "color": "red", "order": 1, "is_favorite": False}

TRIALS: Final[Mapping[str, Trial]] = MappingProxyType(
    {
        **KEY_TRIALS,
        "airtable": Trial(
            tool="list_bases",
            hosts=("api.airtable.com",),
            answers={
                "GET api.airtable.com/v0/meta/bases": {
                    "bases": [{"id": "app1", "name": "base of WHO", "permissionLevel": "read"}]
                }
            },
        ),
        "asana": Trial(
            tool="asana_list_workspaces",
            env={"NODE_OPTIONS": "--require=REDIRECT"},
            hosts=("app.asana.com",),
            answers={"GET app.asana.com/api/1.0/workspaces": {"data": [_PERSON]}},
        ),
        "atlassian": Trial(
            tool="jira_search",
            arguments={"jql": "order by created", "limit": 1},
            hosts=("api.atlassian.com",),
            exports={"ATLASSIAN_SITE": "https://mine.atlassian.net", "ATLASSIAN_CLOUD_ID": "cloud-1"},
            answers={
                "*/rest/api/3/search/jql": {
                    "issues": [{"id": "1", "key": "WHO-1", "fields": {"summary": "ticket of WHO"}}]
                }
            },
        ),
        "azure-devops": Trial(
            tool="search_workitem",
            arguments={"searchText": "ferry"},
            hosts=("almsearch.dev.azure.com",),
            exports={"AZURE_DEVOPS_ORGANIZATION": "contoso"},
            answers={
                "POST almsearch.dev.azure.com/contoso/_apis/search/workitemsearchresults": {
                    "count": 1,
                    "results": [{"fields": {"system.title": "work of WHO"}}],
                }
            },
        ),
        "figma": Trial(
            tool="get_figma_data",
            arguments={"fileKey": "abc"},
            hosts=("api.figma.com",),
            answers={
                "GET api.figma.com/v1/files/abc": {
                    "name": "drawing of WHO",
                    "document": {"id": "0:0", "name": "d", "type": "DOCUMENT", "children": []},
                    "components": {},
                    "componentSets": {},
                    "styles": {},
                }
            },
        ),
        "github": Trial(
            tool="search_users",
            arguments={"q": "ferry"},
            hosts=("api.github.com",),
            answers={
                "GET api.github.com/search/users": {"total_count": 1, "incomplete_results": False, "items": [_USER]}
            },
        ),
        "gitlab": Trial(
            tool="list_projects",
            base="STUB/api/v4",
            answers={
                "GET BASE/api/v4/projects": [
                    {"id": 1, "name": "WHO", "path_with_namespace": "group/WHO", "description": "project of WHO"}
                ]
            },
        ),
        "gitlab-reference": Trial(
            tool="create_branch",
            arguments={"project_id": "7", "branch": "fresh", "ref": "main"},
            base="STUB/api/v4",
            answers={
                "POST BASE/api/v4/projects/7/repository/branches": {
                    "name": "branch-of-WHO",
                    "commit": {"id": "1", "web_url": "https://x.example"},
                }
            },
        ),
        "gmail": Trial(
            tool="list_email_labels",
            hosts=("gmail.googleapis.com",),
            answers={
                "GET gmail.googleapis.com/gmail/v1/users/me/labels": {
                    "labels": [{"id": "1", "name": "label of WHO", "type": "user"}]
                }
            },
        ),
        "google-analytics": Trial(
            tool="get_account_summaries",
            hosts=("analyticsadmin.googleapis.com",),
            grpc=True,
            env={"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": "AUTHORITY"},
            answers={
                "POST analyticsadmin.googleapis.com/*/ListAccountSummaries": {
                    "name": "accountSummaries/1",
                    "account": "accounts/1",
                    "displayName": "account of WHO",
                }
            },
        ),
        "google-calendar": Trial(
            tool="list-calendars",
            hosts=("www.googleapis.com", "oauth2.googleapis.com"),
            answers={
                "GET www.googleapis.com/calendar/v3/users/me/calendarList": {
                    "items": [{"id": "WHO@example.com", "summary": "WHO", "primary": True, "accessRole": "owner"}]
                }
            },
        ),
        "google-drive": Trial(
            tool="search",
            arguments={"query": "ferry"},
            hosts=("www.googleapis.com",),
            answers={
                "GET www.googleapis.com/drive/v3/files": {
                    "files": [{"id": "1", "name": "file of WHO", "mimeType": "text/plain"}]
                }
            },
        ),
        "hubspot": Trial(
            tool="hubspot-list-objects",
            arguments={"objectType": "contacts"},
            base="STUB",
            answers={
                "GET BASE/crm/v3/objects/contacts": {"results": [{"id": "1", "properties": {"firstname": "WHO"}}]}
            },
        ),
        "linear": Trial(
            tool="linear_getViewer",
            hosts=("api.linear.app",),
            answers={"POST api.linear.app/graphql": {"data": {"viewer": _PERSON}}},
        ),
        "microsoft-365": Trial(
            tool="get-current-user",
            hosts=("graph.microsoft.com",),
            answers={"GET graph.microsoft.com/v1.0/me": {"id": "1", "displayName": "WHO"}},
        ),
        "monday": Trial(
            tool="list_workspaces",
            hosts=("api.monday.com",),
            answers={"POST api.monday.com/v2": {"data": {"workspaces": [_PERSON], "me": _PERSON}}},
        ),
        "notion": Trial(
            tool="API-get-self", base="STUB", answers={"GET BASE/v1/users/me": {"object": "user", "name": "WHO"}}
        ),
        "notion-headers": Trial(
            tool="API-get-self", base="STUB", answers={"GET BASE/v1/users/me": {"object": "user", "name": "WHO"}}
        ),
        "sentry": Trial(
            tool="find_organizations",
            base="sentry.example.com",
            hosts=("sentry.example.com",),
            answers={
                "GET sentry.example.com/api/0/organizations/": [
                    {"id": "1", "slug": "org-of-WHO", "name": "WHO", "links": {"organizationUrl": "https://x.example"}}
                ]
            },
        ),
        "slack": Trial(
            tool="slack_get_users",
            hosts=("slack.com",),
            exports={"SLACK_TEAM_ID": "T1"},
            answers={"GET slack.com/api/users.list": {"ok": True, "members": [_PERSON]}},
        ),
        "slack-search": Trial(
            tool="users_search",
            arguments={"query": "ferry"},
            hosts=("slack.com", "team.slack.com"),
            token="xoxp-{person}",
            env={"SLACK_MCP_PROXY": "STUB", "SLACK_MCP_SERVER_CA": "AUTHORITY"},
            answers=SLACK_ANSWERS,
        ),
        "supabase": Trial(
            tool="list_organizations",
            token="sbp_{person}00000000000000000000000000000000000000",
            hosts=("api.supabase.com", "supabase.com"),
            answers={
                # Its tools are listed only after the documentation has told its own schema.
                "GET supabase.com/docs/api/graphql": {"data": {"schema": "type Query { schema: String! }"}},
                "GET api.supabase.com/v1/organizations": [_PERSON],
            },
        ),
        "todoist": Trial(
            tool="find-labels",
            base="STUB",
            answers={
                "GET BASE/api/v1/labels": {"results": [_LABEL], "next_cursor": None},
                "GET BASE/api/v1/labels/shared": {"results": [], "next_cursor": None},
            },
        ),
    }
)

_NOTION: Final = KNOWN_SERVERS["notion"]
VARIANTS: Final[Mapping[str, KnownServer]] = MappingProxyType(
    {
        "notion-headers": replace(
            _NOTION,
            name="notion-headers",
            entry={
                "package": _NOTION.entry["package"],
                "env": {
                    "OPENAPI_MCP_HEADERS": {
                        "json": {"Authorization": "Bearer ${auth.access_token}", "Notion-Version": "2025-09-03"}
                    }
                },
                "auth": {"provider": "notion"},
            },
        )
    }
)
"""Other ways into the same servers, which the documentation shows."""

WRONG_FORMS: Final[Mapping[tuple[str, str], str]] = MappingProxyType(
    {
        ("figma", "FIGMA_API_KEY"): "x-figma-token: TOKEN",
        ("gitlab", "GITLAB_JOB_TOKEN"): "job-token: TOKEN",
        ("linear", "LINEAR_API_KEY"): "authorization: TOKEN",
        ("linear", "LINEAR_API_TOKEN"): "authorization: TOKEN",
    }
)
"""What becomes of a token in each variable of `wrong_variables`."""
