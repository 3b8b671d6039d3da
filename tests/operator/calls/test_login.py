"""The login of a package from the command line: what is believed, where tokens go, and what is kept."""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from fluidmcp.config.secret import Secret
from fluidmcp.errors import FluidMCPError, LoginError, NotLoggedInError
from fluidmcp.operator.browser_flow import Person
from fluidmcp.operator.calls.login import PackageLogin
from fluidmcp.operator.calls.token_files import name_token_file, take_package_logins
from fluidmcp.operator.token_file import StoredLogin, TokenFile
from tests.providers.replayed import Answers, ReplayFetcher

GATEWAY: Final = "https://gate.example.com"
URL: Final = f"{GATEWAY}/mail/mcp"
ISSUER: Final = f"{GATEWAY}/mail"
PRM: Final = f"{GATEWAY}/.well-known/oauth-protected-resource/mail/mcp"
CHALLENGE: Final = f'Bearer error="invalid_token", resource_metadata="{PRM}", scope="mail.read"'
SERVER: Final[dict[str, Any]] = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/authorize",
    "token_endpoint": f"{ISSUER}/token",
    "registration_endpoint": f"{ISSUER}/register",
    "code_challenge_methods_supported": ["S256"],
    "authorization_response_iss_parameter_supported": True,
}
TOKENS: Final = {"access_token": "fresh", "refresh_token": "next", "expires_in": 60, "token_type": "Bearer"}


def answers(**changes: tuple[int, Mapping[str, Any]]) -> Answers:
    said = {
        "prm": (200, {"resource": URL, "authorization_servers": [ISSUER]}),
        "server": (200, SERVER),
        "register": (201, {"client_id": "me"}),
        "token": (200, TOKENS),
    } | changes
    return {
        PRM: said["prm"],
        f"{GATEWAY}/.well-known/openid-configuration/mail": said["server"],
        f"{ISSUER}/.well-known/openid-configuration": said["server"],
        f"{GATEWAY}/.well-known/oauth-authorization-server/mail": said["server"],
        f"{ISSUER}/register": said["register"],
        f"{ISSUER}/token": said["token"],
    }


class Stage:
    """A login with a person who says yes at once, by pasting the address at which their browser ended."""

    def __init__(self, home: Path, given: Answers, *, issuer: str = ISSUER) -> None:
        self.file = TokenFile(home, name=name_token_file(URL))
        self.fetcher = ReplayFetcher(given)
        self.asked: list[dict[str, list[str]]] = []
        self._issuer = issuer
        self.now = 1000.0
        self.lines: asyncio.Queue[str] = asyncio.Queue()
        person = Person(show_address=self._say_yes, say=lambda _: None, pasted_lines=self.lines)
        self.login = PackageLogin(URL, file=self.file, fetcher=self.fetcher, person=person, now=lambda: self.now)

    def _say_yes(self, location: str) -> None:
        query = parse_qs(urlsplit(location).query)
        self.asked.append(query)
        answer = urlencode({"code": "c", "state": query["state"][0], "iss": self._issuer})
        self.lines.put_nowait(f"{query['redirect_uri'][0]}?{answer}")


def stored(**changes: Any) -> StoredLogin:
    values: dict[str, Any] = {
        "access_token": Secret("old"),
        "refresh_token": Secret("renews"),
        "expires_at": 2000.0,
        "token_endpoint": f"{ISSUER}/token",
        "client_id": "me",
        **changes,
    }
    return StoredLogin(**values)


async def test_a_login_asks_for_this_address_and_is_kept(tmp_path: Path):
    stage = Stage(tmp_path, answers())

    assert await stage.login.find() is None
    assert await stage.login.replace(None, CHALLENGE) == "fresh"

    (asked,) = stage.asked
    assert (asked["resource"], asked["scope"], asked["code_challenge_method"]) == ([URL], ["mail.read"], ["S256"])
    assert asked["redirect_uri"][0].startswith("http://127.0.0.1:")
    ((endpoint, form),) = stage.fetcher.forms
    assert endpoint == f"{ISSUER}/token"
    assert form["resource"] == URL
    assert {"code_verifier", "code"} <= form.keys()
    kept = stage.file.load()
    assert kept is not None
    assert kept.access_token.reveal() == "fresh"
    removed, logins = take_package_logins({"HOME": str(tmp_path)})
    assert removed == 1
    assert [(login.issuer, login.client_id) for login in logins] == [(ISSUER, kept.client_id)]
    assert stage.file.load() is None


@pytest.mark.parametrize(
    ("given", "challenge", "what"),
    [
        (answers(), CHALLENGE.replace(PRM, "https://evil.example/x"), "names another host for its login"),
        (
            answers(prm=(200, {"resource": f"{GATEWAY}/other/mcp", "authorization_servers": [ISSUER]})),
            CHALLENGE,
            "for ",
        ),
        (answers(prm=(200, {"resource": URL, "authorization_servers": []})), CHALLENGE, "no authorization server"),
        (answers(), CHALLENGE.replace(PRM, "https://[::1"), "names another host for its login"),
        *(
            (answers(prm=(200, {"resource": URL, "authorization_servers": [issuer]})), CHALLENGE, "is not trusted")
            for issuer in (
                "http://localhost:1/x",
                "https://127.0.0.1/x",
                "https://[::1",
                "file:///x",
                "http://a.example",
            )
        ),
        (answers(prm=(404, {})), CHALLENGE, "another address"),
        (answers(server=(200, {**SERVER, "issuer": "https://evil.example"})), CHALLENGE, "login at the gateway failed"),
        (
            answers(server=(200, {**SERVER, "token_endpoint": "https://evil.example/token"})),
            CHALLENGE,
            "login at the gateway failed",
        ),
        (
            answers(server=(200, {k: v for k, v in SERVER.items() if k != "registration_endpoint"})),
            CHALLENGE,
            "takes no registrations",
        ),
        (answers(register=(400, {"error": "invalid_redirect_uri"})), CHALLENGE, "did not register"),
        (answers(token=(400, {"error": "invalid_grant"})), CHALLENGE, "login at the gateway failed"),
        (answers(), "Bearer", "names no login"),
    ],
)
async def test_what_does_not_belong_together_is_not_followed(tmp_path: Path, given: Answers, challenge: str, what: str):
    stage = Stage(tmp_path, given)

    with pytest.raises(FluidMCPError, match=what):
        await stage.login.replace(None, challenge)

    assert all(urlsplit(url).netloc == "gate.example.com" for url, _ in stage.fetcher.forms)
    assert stage.file.load() is None


async def test_an_answer_of_another_issuer_gets_no_code_redeemed(tmp_path: Path):
    stage = Stage(tmp_path, answers(), issuer="https://evil.example")

    with pytest.raises(LoginError, match="another issuer"):
        await stage.login.replace(None, CHALLENGE)

    assert stage.fetcher.forms == []


async def test_a_token_is_renewed_before_it_ends_and_the_old_refresh_token_stays_where_no_new_one_comes(tmp_path: Path):
    stage = Stage(tmp_path, answers(token=(200, {k: v for k, v in TOKENS.items() if k != "refresh_token"})))
    stage.file.save(stored())

    assert await stage.login.find() == "old"
    stage.now = 1995.0
    assert await stage.login.find() == "fresh"

    ((_, form),) = stage.fetcher.forms
    assert (form["refresh_token"], form["resource"], form["client_id"]) == ("renews", URL, "me")
    kept = stage.file.load()
    assert kept is not None
    assert kept.refresh_token is not None
    assert kept.refresh_token.reveal() == "renews"


async def test_a_login_that_cannot_be_renewed_is_forgotten(tmp_path: Path):
    stage = Stage(tmp_path, answers(token=(400, {"error": "invalid_grant"})))
    stage.file.save(stored(expires_at=500.0))

    assert await stage.login.find() is None
    assert stage.file.load() is None


async def test_a_renewal_of_another_process_is_used_and_nothing_is_asked(tmp_path: Path):
    stage = Stage(tmp_path, answers())
    stage.file.save(stored(access_token=Secret("theirs")))

    assert await stage.login.replace("old", CHALLENGE) == "theirs"
    assert stage.fetcher.forms == []


async def test_where_nobody_can_log_in_it_says_so_and_the_gateway_hears_nothing(tmp_path: Path):
    fetcher = ReplayFetcher({})
    login = PackageLogin(URL, file=TokenFile(tmp_path, name=name_token_file(URL)), fetcher=fetcher, person=None)

    with pytest.raises(NotLoggedInError, match="needs a login"):
        await login.replace(None, CHALLENGE)


def test_each_address_has_a_file_of_its_own(tmp_path: Path):
    for url in (URL, f"{URL}/", "http://localhost/mail/mcp"):
        TokenFile(tmp_path, name=name_token_file(url)).save(stored())
    TokenFile(tmp_path).save(stored())

    damaged = TokenFile(tmp_path, name=name_token_file(URL)).path
    damaged.unlink()
    damaged.symlink_to(tmp_path / "elsewhere")

    removed, logins = take_package_logins({"HOME": str(tmp_path)})

    assert (removed, len(logins)) == (3, 2)
    assert not os.path.lexists(damaged)
    assert TokenFile(tmp_path).load() is not None
    assert TokenFile(tmp_path, name=name_token_file(URL)).load() is None
