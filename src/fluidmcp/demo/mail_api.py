"""A read-only mail API with the addresses and shapes of Gmail's, over the made-up mailboxes."""

from base64 import urlsafe_b64encode
from collections.abc import Callable
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fluidmcp.demo.grants import GrantBook
from fluidmcp.demo.mailboxes import Mail, Person, find_person
from fluidmcp.demo.registration import READ_SCOPE
from fluidmcp.demo.token_endpoints import read_bearer_token


class _ApiError(Exception):
    def __init__(self, status: int, name: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.name = name
        self.message = message


class MailApi:
    """Answers for the owner of the bearer token, and for nobody else."""

    def __init__(self, grants: GrantBook) -> None:
        self._grants = grants

    def routes(self) -> list[Route]:
        base = "/gmail/v1/users/{user}"
        return [
            Route(f"{base}/profile", self.get_profile, methods=["GET"]),
            Route(f"{base}/messages", self.list_messages, methods=["GET"]),
            Route(f"{base}/messages/{{id}}", self.get_message, methods=["GET"]),
        ]

    async def get_profile(self, request: Request) -> Response:
        return self._answer(request, _describe_mailbox)

    async def list_messages(self, request: Request) -> Response:
        max_results = request.query_params.get("maxResults")
        return self._answer(request, partial(_list_messages, max_results=max_results))

    async def get_message(self, request: Request) -> Response:
        return self._answer(request, partial(_get_message, message_id=str(request.path_params["id"])))

    def _answer(self, request: Request, answer: Callable[[Person], dict[str, Any]]) -> Response:
        try:
            return JSONResponse(answer(self._find_owner(request)))
        except _ApiError as error:
            body = {"error": {"code": error.status, "message": error.message, "status": error.name}}
            headers = {"WWW-Authenticate": 'Bearer error="invalid_token"'} if error.status == 401 else None
            return JSONResponse(body, status_code=error.status, headers=headers)

    def _find_owner(self, request: Request) -> Person:
        access = self._grants.find_access_token(read_bearer_token(request))
        person = find_person(access.grant.subject) if access else None
        if access is None or person is None:
            raise _ApiError(401, "UNAUTHENTICATED", "The access token is missing, unknown, expired or revoked.")
        if READ_SCOPE not in access.grant.scope.split():
            raise _ApiError(403, "PERMISSION_DENIED", "The access token does not allow reading mail.")
        if request.path_params["user"] not in ("me", person.email):
            raise _ApiError(403, "PERMISSION_DENIED", "The access token is for another mailbox.")
        return person


def _describe_mailbox(person: Person) -> dict[str, Any]:
    count = len(person.messages)
    return {"emailAddress": person.email, "messagesTotal": count, "threadsTotal": count, "historyId": "1"}


def _list_messages(person: Person, max_results: str | None) -> dict[str, Any]:
    if max_results is not None and not (max_results.isascii() and max_results.isdigit() and int(max_results[:4]) > 0):
        raise _ApiError(400, "INVALID_ARGUMENT", "maxResults must be a number above zero.")
    shown = person.messages[: min(int(max_results[:4]), 500) if max_results else 100]
    messages = [{"id": mail.id, "threadId": mail.id} for mail in shown]
    return {"messages": messages, "resultSizeEstimate": len(person.messages)}


def _get_message(person: Person, message_id: str) -> dict[str, Any]:
    mail = person.find_message(message_id)
    if mail is None:
        raise _ApiError(404, "NOT_FOUND", "There is no message with this id.")
    return {
        "id": mail.id,
        "threadId": mail.id,
        "labelIds": ["INBOX", "UNREAD"] if mail.unread else ["INBOX"],
        "snippet": mail.snippet,
        "internalDate": str(int(mail.sent_at.timestamp() * 1000)),
        "sizeEstimate": len(mail.text),
        "payload": _write_payload(person, mail),
    }


def _write_payload(person: Person, mail: Mail) -> dict[str, Any]:
    headers = {
        "From": mail.sender,
        "To": f"{person.name} <{person.email}>",
        "Subject": mail.subject,
        "Date": mail.sent_at.strftime("%a, %d %b %Y %H:%M:%S +0000"),
        "Content-Type": "text/plain; charset=utf-8",
    }
    data = mail.text.encode()
    return {
        "mimeType": "text/plain",
        "headers": [{"name": name, "value": value} for name, value in headers.items()],
        "body": {"size": len(data), "data": urlsafe_b64encode(data).decode("ascii")},
    }
