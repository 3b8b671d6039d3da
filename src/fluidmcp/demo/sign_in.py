"""The part of the development provider that people see: choose who you are, then allow or deny.

Serves the authorization endpoint (RFC 6749 section 4.1, with RFC 7636 required and RFC 9207's `iss`). A mistake in the
client or redirect address is shown here and never sent anywhere; other mistakes go back to the client.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, NoReturn
from urllib.parse import urlencode, urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from fluidmcp.demo.forms import read_form
from fluidmcp.demo.grants import ExpiringDict, GrantBook
from fluidmcp.demo.mailboxes import PEOPLE, find_person
from fluidmcp.demo.registration import READ_SCOPE, SCOPES, Registration

MAX_PENDING: Final = 500
PENDING_LIFE_SECONDS: Final = 600.0
MAX_STATE_CHARACTERS: Final = 2000
COOKIE_PREFIX: Final = "fluidmcp-demo-provider-"

_CODE_CHALLENGE: Final = re.compile(r"[A-Za-z0-9\-_]{43}")
_ONCE_ONLY: Final = ("response_type", "client_id", "redirect_uri", "scope", "state", "code_challenge")


class PageError(Exception):
    """Something to tell the person in the browser; nothing is sent to the client."""

    def __init__(self, title: str, text: str, *, status: int = 400) -> None:
        super().__init__(title)
        self.title = title
        self.text = text
        self.status = status


class _ReturnError(Exception):
    """An error for the client: goes back to its redirect address (RFC 6749 section 4.1.2.1)."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(description)
        self.error = error
        self.description = description


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pending:
    """An authorization request that waits for its person, bound to one browser by the digest of a cookie."""

    cookie_digest: bytes
    scope: str
    state: str | None
    code_challenge: str
    subject: str | None = None


class SignIn:
    """The authorization endpoint and its two pages."""

    def __init__(self, registration: Registration, grants: GrantBook, *, now: Callable[[], float]) -> None:
        self._registration = registration
        self._grants = grants
        self._form_key = secrets.token_bytes(32)
        self._pending: ExpiringDict[_Pending] = ExpiringDict(max_entries=MAX_PENDING, now=now)
        self._templates = Environment(
            loader=PackageLoader("fluidmcp.demo"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
        )

    def routes(self) -> list[Route]:
        return [
            Route("/", self.show_home, methods=["GET"]),
            Route("/authorize", self.authorize, methods=["GET"]),
            Route("/sign-in/{id}", self.show_page, methods=["GET"]),
            Route("/sign-in/{id}/person", self.choose_person, methods=["POST"]),
            Route("/sign-in/{id}/answer", self.answer, methods=["POST"]),
        ]

    def show_problem(self, error: PageError) -> Response:
        return self._page("problem.html", status=error.status, title=error.title, text=error.text)

    async def show_home(self, request: Request) -> Response:
        return self._page("home.html", title="Made-up mail", people=PEOPLE)

    async def authorize(self, request: Request) -> Response:
        """Check the request, remember it for this browser, and show who can sign in."""
        query = request.query_params
        self._check_client(query)
        try:
            pending_id, cookie = self._remember(query)
        except _ReturnError as error:
            return self._return(_get_state(query), error=error.error, error_description=error.description)
        response = RedirectResponse(f"/sign-in/{pending_id}", status_code=303)
        response.set_cookie(
            COOKIE_PREFIX + pending_id,
            cookie,
            max_age=int(PENDING_LIFE_SECONDS),
            path=f"/sign-in/{pending_id}",
            httponly=True,
            samesite="lax",
        )
        return response

    async def show_page(self, request: Request) -> Response:
        pending_id, pending, cookie = self._find_pending(request)
        person = find_person(pending.subject) if pending.subject else None
        return self._page(
            "login.html" if person is None else "consent.html",
            title="Who is signing in?" if person is None else "Allow access?",
            action=f"/sign-in/{pending_id}",
            form_token=self._make_form_token(pending_id, cookie),
            client_name=self._registration.client_name,
            people=PEOPLE,
            person=person,
            scopes=[SCOPES[scope] for scope in pending.scope.split()],
            returns_to=_get_origin(self._registration.redirect_uri),
        )

    async def choose_person(self, request: Request) -> Response:
        """Note who signs in (an empty choice goes back to the list)."""
        pending_id, pending, form = await self._read_answer(request)
        subject = form.get("person", "")
        if subject and find_person(subject) is None:
            raise PageError("There is nobody of that name", "Please go back and choose one of the two people.")
        remaining = replace(pending, subject=subject or None)
        self._pending.put(pending_id, remaining, life_seconds=PENDING_LIFE_SECONDS)
        return RedirectResponse(f"/sign-in/{pending_id}", status_code=303)

    async def answer(self, request: Request) -> Response:
        """Allow or deny; either way this request is over."""
        pending_id, pending, form = await self._read_answer(request)
        decision = form.get("decision", "")
        if pending.subject is None or decision not in ("allow", "deny"):
            raise PageError("Something is missing", "Please go back, choose who you are, and then allow or deny.")
        if self._pending.take(pending_id) is None:
            self._refuse_pending()
        if decision == "deny":
            response = self._return(pending.state, error="access_denied", error_description="The person said no.")
        else:
            code = self._grants.issue_code(
                client_id=self._registration.client_id,
                subject=pending.subject,
                scope=pending.scope,
                redirect_uri=self._registration.redirect_uri,
                code_challenge=pending.code_challenge,
            )
            response = self._return(pending.state, code=code)
        response.delete_cookie(COOKIE_PREFIX + pending_id, path=f"/sign-in/{pending_id}", httponly=True, samesite="lax")
        return response

    def _check_client(self, query: QueryParams) -> None:
        if query.getlist("client_id") != [self._registration.client_id]:
            raise PageError(
                "This application is not known here",
                "The provider knows one client only, and its keys change at every start. Start the sign-in again.",
            )
        if query.getlist("redirect_uri") != [self._registration.redirect_uri]:
            raise PageError(
                "The return address is not registered",
                "Only the exact address that was registered is accepted, so nothing was sent anywhere.",
            )

    def _remember(self, query: QueryParams) -> tuple[str, str]:
        """The id and the cookie of a new pending request.

        Raises:
            _ReturnError: what the client did wrong.
        """
        if any(len(query.getlist(name)) > 1 for name in (*_ONCE_ONLY, "code_challenge_method")):
            raise _ReturnError("invalid_request", "A parameter came twice.")
        if len(query.get("state", "")) > MAX_STATE_CHARACTERS:
            raise _ReturnError("invalid_request", "The state is too long.")
        if query.get("response_type") != "code":
            raise _ReturnError("unsupported_response_type", "Only response_type=code is supported.")
        # RFC 7636 section 4.4.1; a missing method would mean "plain", which is refused like any other.
        if query.get("code_challenge_method") != "S256" or not _CODE_CHALLENGE.fullmatch(
            query.get("code_challenge", "")
        ):
            raise _ReturnError("invalid_request", "PKCE with code_challenge_method=S256 is required.")
        scopes = dict.fromkeys(query.get("scope", READ_SCOPE).split())
        if not scopes or not scopes.keys() <= SCOPES.keys():
            raise _ReturnError("invalid_scope", "A scope is not known here.")
        pending_id, cookie = secrets.token_hex(8), secrets.token_urlsafe(32)
        pending = _Pending(
            cookie_digest=_digest(cookie),
            scope=" ".join(scopes),
            state=_get_state(query),
            code_challenge=query["code_challenge"],
        )
        self._pending.put(pending_id, pending, life_seconds=PENDING_LIFE_SECONDS)
        return pending_id, cookie

    def _find_pending(self, request: Request) -> tuple[str, _Pending, str]:
        pending_id = str(request.path_params["id"])
        pending = self._pending.get(pending_id)
        cookie = request.cookies.get(COOKIE_PREFIX + pending_id, "")
        if pending is None or not hmac.compare_digest(_digest(cookie), pending.cookie_digest):
            self._refuse_pending()
        return pending_id, pending, cookie

    async def _read_answer(self, request: Request) -> tuple[str, _Pending, dict[str, str]]:
        pending_id, pending, cookie = self._find_pending(request)
        form = await read_form(request)
        token = self._make_form_token(pending_id, cookie)
        # Cookies ignore ports, so a neighbour on this host could bring one; the origin and the form token it cannot.
        origin = request.headers.get("origin")
        if (origin is not None and origin.removeprefix("http://") not in self._registration.hosts) or (
            not hmac.compare_digest(form.get("form_token", "").encode(), token.encode())
        ):
            raise PageError("This form did not come from this page", "Please start the sign-in again.", status=403)
        return pending_id, pending, form

    def _refuse_pending(self) -> NoReturn:
        raise PageError(
            "This sign-in is over",
            "It was finished already, took longer than ten minutes, or was begun in another browser. Start it again.",
        )

    def _make_form_token(self, pending_id: str, cookie: str) -> str:
        return hmac.new(self._form_key, f"{pending_id} {cookie}".encode(), hashlib.sha256).hexdigest()

    def _return(self, state: str | None, **answer: str) -> Response:
        """Send the browser back to the one registered address."""
        answer["iss"] = self._registration.issuer
        if state is not None:
            answer["state"] = state
        return RedirectResponse(f"{self._registration.redirect_uri}?{urlencode(answer)}", status_code=303)

    def _page(self, template: str, *, status: int = 200, **values: object) -> Response:
        text = self._templates.get_template(template).render(issuer=self._registration.issuer, **values)
        return HTMLResponse(text, status_code=status)


def _get_state(query: QueryParams) -> str | None:
    """The state to repeat; one that is doubled or oversized is not repeated."""
    states = query.getlist("state")
    return states[0] if len(states) == 1 and len(states[0]) <= MAX_STATE_CHARACTERS else None


def _get_origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
