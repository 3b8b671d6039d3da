"""An authorization server that makes the faults that a real one never makes. Nothing else is faked with it."""

import asyncio
import base64
import contextlib
import json
import secrets
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

Answer = Callable[[dict[str, str]], Response]


class FaultMakingProvider:
    """Answers as it is told. `token_requests` and `introspections` are the forms that came, in order."""

    def __init__(self) -> None:
        self.token_requests: list[dict[str, str]] = []
        self.introspections: list[dict[str, str]] = []
        self.authorizations: list[str | None] = []
        """The `Authorization` header of each call."""
        self.handed_out: list[dict[str, Any]] = []
        """The token answers that went out with an access token, in order."""
        self.answer_token: Answer = good_token
        self.answer_introspection: Answer = lambda _form: JSONResponse({"active": False})
        self.was_asked = asyncio.Event()
        """Set when the first introspection call has come."""
        self.gate: asyncio.Event | None = None
        """While set and not yet open, introspection calls wait for it."""
        self.app = Starlette(
            routes=[
                Route("/token", self._token, methods=["POST"]),
                Route("/introspect", self._introspect, methods=["POST"]),
            ]
        )

    async def _token(self, request: Request) -> Response:
        form = await self._form(request)
        self.token_requests.append(form)
        answer = self.answer_token(form)
        if answer.status_code == 200 and b"access_token" in answer.body:
            with contextlib.suppress(ValueError):
                self.handed_out.append(json.loads(bytes(answer.body)))
        return answer

    @staticmethod
    def refuse_with(error: str) -> Answer:
        """An answer that says no, with an OAuth error code."""
        return lambda _form: JSONResponse({"error": error}, status_code=400)

    @staticmethod
    def fail(_form: dict[str, str]) -> Response:
        """A provider that is down."""
        return Response(status_code=500)

    @staticmethod
    def mark_tokens(mark: str) -> Answer:
        """Good answers whose tokens all hold the mark."""

        def answer(_form: dict[str, str]) -> Response:
            marked = {f"{name}_token": f"{mark}-{name}-{secrets.token_hex(4)}" for name in ("access", "refresh")}
            return JSONResponse(token_document(**marked))

        return answer

    @staticmethod
    def name_person(subject: str, **changes: Any) -> Answer:
        """A good answer with an ID token that says who logged in."""

        def answer(form: dict[str, str]) -> Response:
            claims = {"iss": "https://id.example", "sub": subject, "aud": form.get("client_id", "")}
            id_token = unsigned_id_token(**claims, exp=time.time() + 600)
            return JSONResponse(token_document(**{"scope": None, "id_token": id_token, **changes}))

        return answer

    async def _introspect(self, request: Request) -> Response:
        form = await self._form(request)
        self.introspections.append(form)
        self.was_asked.set()
        if self.gate is not None:
            await self.gate.wait()
        return self.answer_introspection(form)

    async def _form(self, request: Request) -> dict[str, str]:
        self.authorizations.append(request.headers.get("authorization"))
        if request.headers.get("content-type") == "application/json":
            return await request.json()
        return {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}


def good_token(_form: dict[str, str]) -> Response:
    return JSONResponse(token_document())


def token_document(**changes: Any) -> dict[str, Any]:
    """A token answer as a good provider sends it, with changes; a change to None leaves the field out."""
    document = {
        "access_token": f"at-{secrets.token_hex(8)}",
        "refresh_token": f"rt-{secrets.token_hex(8)}",
        "expires_in": 3600,
        "token_type": "Bearer",
        "scope": "mail.read",
        **changes,
    }
    return {name: value for name, value in document.items() if value is not None}


def unsigned_id_token(**claims: Any) -> str:
    """An ID token whose signature nobody checks, because it comes over the direct connection."""
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in ({"alg": "RS256"}, claims)]
    return b".".join([*parts, b"c2ln"]).decode()


def query_of(location: str) -> dict[str, str]:
    """The parameters of an address, each of which occurs once."""
    parameters = parse_qs(urlsplit(location).query, keep_blank_values=True)
    assert all(len(values) == 1 for values in parameters.values())
    return {name: values[0] for name, values in parameters.items()}
