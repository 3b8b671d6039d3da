"""A provider where persons log in, whose refresh tokens are good once; it knows whose each token is."""

import base64
import html
import json
import secrets
import time
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

CLIENT_ID: Final = "gateways"
ENVIRONMENT: Final = {"TALLY_CLIENT_ID": CLIENT_ID, "TALLY_CLIENT_SECRET": "a secret of the gateways"}

_PAGE: Final = """<form action="/login"><input type="hidden" name="prompt" value="login">
<input type="hidden" name="query" value="{query}"></form>"""


@dataclass
class Account:
    """What one login has of the provider: the token that is good now, and how often it was renewed."""

    name: str
    token: str
    renewals: int = 0


class PersonsProvider:
    """Logins have names, `PERSON.NUMBER`. `faults` are requests that no correct gateway makes."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        """By the name of the login."""
        self.logins = 0
        """How many codes were redeemed."""
        self.faults: list[str] = []
        self._codes: dict[str, str | None] = {}
        """Whose each code is; None when it was used."""
        self._refresh_tokens: dict[str, str | None] = {}
        self.app = Starlette(
            routes=[
                Route("/authorize", self._authorize),
                Route("/login", self._login, methods=["POST"]),
                Route("/token", self._token, methods=["POST"]),
            ]
        )

    def allow(self, location: str, name: str) -> str:
        """The address to which the provider sends a browser that was sent to `location`, once this login is done."""
        asked = dict(parse_qsl(urlsplit(location).query))
        code = secrets.token_urlsafe(16)
        self._codes[code] = name
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    async def _authorize(self, request: Request) -> Response:
        return HTMLResponse(_PAGE.format(query=html.escape(request.url.query)))

    async def _login(self, request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode()))
        return RedirectResponse(self.allow(f"/?{form['query']}", form["login"]), status_code=303)

    async def _token(self, request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode()))
        if form.get("grant_type") == "authorization_code":
            name = self._take(self._codes, form["code"])
            self.logins += name is not None
        else:
            name = self._take(self._refresh_tokens, form["refresh_token"])
        return JSONResponse({"error": "invalid_grant"}, status_code=400) if name is None else self._hand_out(name)

    def _take(self, good: dict[str, str | None], secret: str) -> str | None:
        name = good.get(secret)
        if name is None:
            self.faults.append(f"{'used twice' if secret in good else 'unknown'}: {secret}")
        good[secret] = None
        return name

    def _hand_out(self, name: str) -> Response:
        before = self.accounts.get(name)
        renewals = 0 if before is None else before.renewals + 1
        token = f"at.{name}.{renewals}.{secrets.token_hex(8)}"
        self.accounts[name] = Account(name, token, renewals)
        refresh_token = secrets.token_urlsafe(16)
        self._refresh_tokens[refresh_token] = name
        document = {
            "access_token": token,
            "refresh_token": refresh_token,
            "expires_in": 3600,
            "token_type": "Bearer",
            "id_token": _id_token(sub=name.partition(".")[0], aud=CLIENT_ID, exp=time.time() + 600),
        }
        return JSONResponse(document)


def _id_token(**claims: Any) -> str:
    """Without a signature, which nobody checks: it comes over the direct connection."""
    content = ({"alg": "RS256"}, {"iss": "https://id.example", **claims})
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in content]
    return b".".join([*parts, b"c2ln"]).decode()
