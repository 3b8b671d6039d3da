"""Scopes of well-known providers in words, for the page that asks a person. Pure module.

Only what the providers' own documentation says; every other scope is shown as it is.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_GOOGLE: Final = "https://www.googleapis.com/auth/"
_GRAPH: Final = "https://graph.microsoft.com/"

_WORDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        # OpenID Connect
        "openid": "Know which account is yours",
        "profile": "See your name and picture",
        "email": "See your mail address",
        "phone": "See your phone number",
        "address": "See your postal address",
        "offline_access": "Stay connected when you are away",
        # Google
        f"{_GOOGLE}gmail.readonly": "Read your mail",
        f"{_GOOGLE}gmail.send": "Send mail as you",
        f"{_GOOGLE}gmail.compose": "Write drafts and send mail as you",
        f"{_GOOGLE}gmail.modify": "Read, write and send your mail",
        f"{_GOOGLE}gmail.labels": "See and change the labels of your mail",
        f"{_GOOGLE}gmail.metadata": "See who wrote to you and when, not what",
        "https://mail.google.com/": "Read, write, send and delete all your mail",
        f"{_GOOGLE}drive": "See, change and delete all your files in Drive",
        f"{_GOOGLE}drive.readonly": "See all your files in Drive",
        f"{_GOOGLE}drive.file": "See and change the files in Drive that you open with it",
        f"{_GOOGLE}drive.metadata.readonly": "See the names and details of your files in Drive",
        f"{_GOOGLE}documents": "See and change your documents",
        f"{_GOOGLE}documents.readonly": "See your documents",
        f"{_GOOGLE}spreadsheets": "See and change your spreadsheets",
        f"{_GOOGLE}spreadsheets.readonly": "See your spreadsheets",
        f"{_GOOGLE}calendar": "See, change and share your calendars",
        f"{_GOOGLE}calendar.readonly": "See your calendars",
        f"{_GOOGLE}calendar.events": "See and change the events of your calendars",
        f"{_GOOGLE}calendar.events.readonly": "See the events of your calendars",
        f"{_GOOGLE}contacts": "See and change your contacts",
        f"{_GOOGLE}contacts.readonly": "See your contacts",
        f"{_GOOGLE}tasks": "See and change your tasks",
        f"{_GOOGLE}tasks.readonly": "See your tasks",
        f"{_GOOGLE}userinfo.email": "See your mail address",
        f"{_GOOGLE}userinfo.profile": "See your name and picture",
        # GitHub
        "repo": "Read and write all your repositories, private ones too",
        "repo:status": "Read and write the state of commits",
        "public_repo": "Read and write your public repositories",
        "read:user": "Read your profile",
        "user": "Read and change your profile",
        "user:email": "See your mail addresses",
        "read:org": "See your organisations and teams",
        "write:org": "See and change your membership of organisations",
        "gist": "Write gists",
        "notifications": "Read your notifications",
        "workflow": "Change workflows of your repositories",
        "delete_repo": "Delete your repositories",
        "read:packages": "Download your packages",
        # Atlassian
        "read:jira-work": "Read projects and issues in Jira",
        "write:jira-work": "Create and change issues in Jira",
        "manage:jira-project": "Manage projects in Jira",
        "read:jira-user": "See the people in Jira",
        "read:me": "Read your Atlassian profile",
        "read:confluence-content.all": "Read all pages in Confluence",
        "write:confluence-content": "Create and change pages in Confluence",
        "search:confluence": "Search in Confluence",
        # Microsoft Graph
        "User.Read": "Read your profile",
        "Mail.Read": "Read your mail",
        "Mail.ReadWrite": "Read, write and delete your mail",
        "Mail.Send": "Send mail as you",
        "Files.Read": "See your files",
        "Files.ReadWrite": "See, change and delete your files",
        "Files.Read.All": "See all files that you can see",
        "Files.ReadWrite.All": "See, change and delete all files that you can",
        "Calendars.Read": "See your calendars",
        "Calendars.ReadWrite": "See and change your calendars",
        "Contacts.Read": "See your contacts",
        "Sites.Read.All": "See all sites that you can see",
        "Chat.Read": "Read your chats",
        "Tasks.ReadWrite": "See and change your tasks",
        # Slack, GitLab, Linear
        "chat:write": "Write messages as you",
        "channels:history": "Read the messages of public channels",
        "channels:read": "See the public channels",
        "users:read": "See the people of the workspace",
        "search:read": "Search messages and files",
        "read_api": "Read everything that you can read",
        "api": "Read and write everything that you can",
        "read_user": "Read your profile",
        "read_repository": "Read your repositories",
        "write_repository": "Read and write your repositories",
        "read": "Read everything that you can read",
        "write": "Read and write everything that you can",
    }
)


def describe_scope(scope: str, texts: Mapping[str, str]) -> str | None:
    """The scope in words: those of the package's author first. None where nobody has any."""
    return texts.get(scope) or _WORDS.get(scope) or _WORDS.get(scope.removeprefix(_GRAPH))
