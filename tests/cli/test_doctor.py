"""`fluidmcp doctor`: what it finds at a real provider, and at one that makes faults."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from fluidmcp.cli.doctor.checks import Finding
from fluidmcp.cli.doctor.run import find_problems
from fluidmcp.config.oauth import load_oauth_settings
from fluidmcp.config.secret import Secret
from fluidmcp.oauth_client.discovery import find_provider
from fluidmcp.oauth_client.fetch import Fetcher
from fluidmcp.oauth_client.token_endpoint import authorization_code_grant, request_token
from fluidmcp.operator.browser_flow import build_request
from fluidmcp.operator.operator_token import build_client
from fluidmcp.operator.token_file import StoredLogin, TokenFile
from tests.acceptance.harness import BIN, Finished, environment, free_port, run_fluidmcp
from tests.authorization_server.sealing_stage import seal_key
from tests.cli.test_main import HEAVY_MODULES
from tests.providers.fault_making import FaultMakingProvider, query_of
from tests.providers.oidc import CLI_CLIENT_ID, OidcProvider, log_in, running_oidc_provider
from tests.providers.serving import serve
from tests.store.running_redis import running_redis

LIMIT_SECONDS = 60.0
Environ = dict[str, str]


@pytest.fixture(scope="module")
def oidc_provider() -> Iterator[OidcProvider]:
    with running_oidc_provider() as provider:
        yield provider


@pytest.fixture
def environ(tmp_path: Path) -> Environ:
    """A home of its own, and a redirect URI that nobody else in these tests listens on."""
    return {"HOME": str(tmp_path), "FMCP_OAUTH_REDIRECT_URI": f"http://127.0.0.1:{free_port()}/callback"}


def public_client(provider: OidcProvider, environ: Environ, **more: str) -> Environ:
    return {**environ, "FMCP_OAUTH_ISSUER": provider.issuer, "FMCP_OAUTH_CLIENT_ID": CLI_CLIENT_ID, **more}


async def examine(environ: Mapping[str, str], *, token: str | None = None, clock: float = 0.0) -> dict[str, Finding]:
    """All findings by their subject; `clock` is how far ours is ahead, in seconds."""
    secret = None if token is None else Secret(token)
    async with asyncio.timeout(LIMIT_SECONDS):
        findings = [f async for f in find_problems(environ, token=secret, now=lambda: time.time() + clock)]
    assert all(finding.hint for finding in findings if finding.level != "ok")
    return {finding.subject: finding for finding in findings}


async def get_token(environ: Mapping[str, str], *, person: str = "alice") -> str:
    """An access token of the real provider, as a login with these variables gives it."""
    settings = load_oauth_settings(environ)
    fetcher = Fetcher()
    try:
        provider = await find_provider(settings, fetcher)
        assert provider.token_endpoint is not None
        request = build_request(settings, provider)
        callback = await log_in(request.location, person=person, until=settings.redirect_uri)
        grant = authorization_code_grant(
            code=query_of(callback)["code"], code_verifier=request.code_verifier, redirect_uri=settings.redirect_uri
        )
        client = build_client(settings, provider)
        answer = await request_token(fetcher, token_url=provider.token_endpoint, client=client, grant=grant)
        return answer.access_token
    finally:
        await fetcher.aclose()


class PublishedProvider(FaultMakingProvider):
    """The fault-making provider with a discovery document, keys and a login page, all of which can be wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.changes: dict[str, Any] = {}
        """To the discovery document; None leaves a member out."""
        self.login_error = "login_required"
        self.login_status = 302
        self.login_requests: list[dict[str, str]] = []
        self.answer_token = lambda _form: JSONResponse({"error": "invalid_request"}, status_code=400)
        self.app.router.routes += [
            Route("/.well-known/openid-configuration", self._document),
            Route("/authorize", self._authorize),
            Route("/keys", self._keys),
        ]

    async def _document(self, request: Request) -> Response:
        address = str(request.base_url).rstrip("/")
        document = {
            "issuer": address,
            "authorization_endpoint": f"{address}/authorize",
            "token_endpoint": f"{address}/token",
            "code_challenge_methods_supported": ["S256"],
            **self.changes,
        }
        return JSONResponse({name: value for name, value in document.items() if value is not None})

    async def _keys(self, request: Request) -> Response:
        return JSONResponse({"keys": []})

    async def _authorize(self, request: Request) -> Response:
        self.login_requests.append(dict(request.query_params))
        if self.login_status != 302:
            # Login pages are larger than any answer that is read.
            return Response(b"x" * 200_000, status_code=self.login_status)
        answer = {"error": self.login_error, "state": request.query_params["state"]}
        return RedirectResponse(f"{request.query_params['redirect_uri']}?{urlencode(answer)}", status_code=302)


@asynccontextmanager
async def published(environ: Environ, *, tells_time: bool = True) -> AsyncGenerator[tuple[PublishedProvider, Environ]]:
    provider = PublishedProvider()
    async with serve(provider.app, tells_time=tells_time) as address:
        yield provider, {**environ, "FMCP_OAUTH_ISSUER": address, "FMCP_OAUTH_CLIENT_ID": "cli"}


# The real provider


@pytest.mark.needs("node", "oidc-provider")
async def test_a_good_set_up_at_a_real_provider_has_no_problem(oidc_provider: OidcProvider, environ: Environ):
    found = await examine(public_client(oidc_provider, environ))
    assert {finding.level for finding in found.values()} == {"ok", "warning"}
    assert [subject for subject, finding in found.items() if finding.level == "warning"] == ["login"]
    assert found["PKCE"].text == "S256 is offered"
    assert found["authorization endpoint"].text == "answers, and knows client id, redirect URI and scopes"
    assert found["token endpoint"].level == found["clock"].level == found["keys (JWKS)"].level == "ok"
    assert found["introspection endpoint"].level == found["userinfo endpoint"].level == "ok"


@pytest.mark.needs("node", "oidc-provider")
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"FMCP_OAUTH_CLIENT_ID": "nobody"}, "HTTP 400"),
        ({"FMCP_OAUTH_REDIRECT_URI": "http://127.0.0.1:8088/elsewhere"}, "HTTP 400"),
        ({"FMCP_OAUTH_AUTH_ENDPOINT": "{issuer}/nowhere"}, "HTTP 404"),
    ],
    ids=["client id", "redirect URI", "address"],
)
async def test_a_login_that_the_real_provider_would_refuse_is_a_problem(
    oidc_provider: OidcProvider, environ: Environ, changes: Environ, words: str
):
    changes = {name: value.format(issuer=oidc_provider.issuer) for name, value in changes.items()}
    found = (await examine({**public_client(oidc_provider, environ), **changes}))["authorization endpoint"]
    assert found.level == "problem" and words in found.text


@pytest.mark.needs("node", "oidc-provider")
async def test_a_good_token_would_be_let_in_and_the_person_is_named(oidc_provider: OidcProvider, environ: Environ):
    asking = {"FMCP_OAUTH_INTROSPECTION_ENDPOINT": oidc_provider.introspection_url}
    variables = public_client(oidc_provider, environ, **asking)
    token = await get_token(variables)
    found = (await examine(variables, token=token))["token"]
    assert (found.level, found.text) == ("ok", f"would be let in, as alice of {oidc_provider.issuer}")


@pytest.mark.needs("node", "oidc-provider")
async def test_a_bad_token_is_a_problem_with_the_reason_of_each_verifier(oidc_provider: OidcProvider, environ: Environ):
    asking = {"FMCP_OAUTH_INTROSPECTION_ENDPOINT": oidc_provider.introspection_url, "FMCP_OAUTH_AUDIENCE": "gateway"}
    found = (await examine(public_client(oidc_provider, environ, **asking), token="canary-of-somebody"))["token"]
    assert found.level == "problem" and "401" in found.text
    reasons = dict(detail.split(": ", 1) for detail in found.details)
    assert reasons["operator"] == "it is not the operator's own token"
    assert reasons["jwt"] == "It is not a signed JWT."
    assert reasons["introspection"] == "The provider says that it is not active."
    assert "canary" not in str(found)


@pytest.mark.needs("node", "oidc-provider")
async def test_a_good_token_of_somebody_who_is_not_named_is_a_problem(oidc_provider: OidcProvider, environ: Environ):
    asking = {
        "FMCP_OAUTH_INTROSPECTION_ENDPOINT": oidc_provider.introspection_url,
        "FMCP_OAUTH_ALLOWED_SUBJECTS": "bob",
    }
    variables = public_client(oidc_provider, environ, **asking)
    found = (await examine(variables, token=await get_token(variables)))["token"]
    assert found.level == "problem" and "403" in found.text
    assert "FMCP_OAUTH_ALLOWED_SUBJECTS" in found.hint


@pytest.mark.needs("node", "oidc-provider")
async def test_the_command_reads_the_token_from_standard_input_and_shows_neither_it_nor_a_secret(
    oidc_provider: OidcProvider, environ: Environ
):
    asking = {
        "FMCP_OAUTH_INTROSPECTION_ENDPOINT": oidc_provider.introspection_url,
        "FMCP_OAUTH_CLIENT_SECRET": "canary-secret",
        "FMCP_LOG_LEVEL": "debug",
    }
    done = await run_doctor(
        "--token", stdin="Bearer canary-token\n", env=public_client(oidc_provider, environ, **asking)
    )
    assert done.code == 1
    assert "problem  token: " in done.stdout
    assert "canary" not in done.stdout + done.stderr


# A provider that makes faults


async def test_an_endpoint_that_cannot_be_reached_is_a_problem_that_names_its_variable(environ: Environ):
    address = f"http://127.0.0.1:{free_port()}"
    endpoints = {"FMCP_OAUTH_AUTH_ENDPOINT": f"{address}/a", "FMCP_OAUTH_TOKEN_ENDPOINT": f"{address}/t"}
    found = await examine({**environ, **endpoints, "FMCP_OAUTH_CLIENT_ID": "cli"})
    for subject, variable in (("authorization endpoint", "AUTH"), ("token endpoint", "TOKEN")):
        assert found[subject].level == "problem"
        assert f"FMCP_OAUTH_{variable}_ENDPOINT" in found[subject].hint


async def test_an_endpoint_that_differs_from_discovery_is_a_problem(environ: Environ):
    async with published(environ) as (_, variables):
        issuer = variables["FMCP_OAUTH_ISSUER"]
        found = await examine({**variables, "FMCP_OAUTH_TOKEN_ENDPOINT": f"{issuer}/other/token"})
        assert found["discovery"].level == "problem"
        assert "FMCP_OAUTH_TOKEN_ENDPOINT" in found["discovery"].text
        assert found["token endpoint"].level == "problem"
        agreeing = await examine({**variables, "FMCP_OAUTH_TOKEN_ENDPOINT": f"{issuer}/token"})
        assert agreeing["discovery"].level == agreeing["token endpoint"].level == "ok"


@pytest.mark.threat("C17")
@pytest.mark.parametrize(
    "changes", [{"issuer": "http://127.0.0.1:1"}, {"token_endpoint": "https://evil.example/token"}], ids=repr
)
async def test_a_document_that_cannot_be_trusted_is_a_problem(environ: Environ, changes: dict[str, str]):
    async with published(environ) as (provider, variables):
        provider.changes = changes
        found = await examine(variables)
        assert found["discovery"].level == "problem"
        assert "token endpoint" not in found


@pytest.mark.parametrize(
    ("methods", "level"), [(["S256", "plain"], "ok"), (["plain"], "problem"), (None, "warning")], ids=repr
)
async def test_pkce_without_s256_is_a_problem_and_silence_about_it_a_warning(
    environ: Environ, methods: list[str] | None, level: str
):
    async with published(environ) as (provider, variables):
        provider.changes = {"code_challenge_methods_supported": methods}
        assert (await examine(variables))["PKCE"].level == level


@pytest.mark.parametrize(
    ("error", "level"), [("interaction_required", "ok"), ("invalid_scope", "problem"), ("x\x1b[2J", "ok")], ids=repr
)
async def test_what_the_login_page_says_to_prompt_none_is_read(environ: Environ, error: str, level: str):
    async with published(environ) as (provider, variables):
        provider.login_error = error
        found = (await examine(variables))["authorization endpoint"]
        assert found.level == level
        assert found.text.isprintable()
        (request,) = provider.login_requests
        assert request["prompt"] == "none" and request["code_challenge_method"] == "S256"


@pytest.mark.parametrize(("status", "level"), [(200, "ok"), (403, "warning"), (404, "problem"), (503, "problem")])
async def test_a_login_page_is_judged_by_its_status(environ: Environ, status: int, level: str):
    async with published(environ) as (provider, variables):
        provider.login_status = status
        assert (await examine(variables))["authorization endpoint"].level == level


@pytest.mark.parametrize(
    ("answer", "level"),
    [
        (JSONResponse({"error": "bad_verification_code"}), "ok"),
        (JSONResponse({"error": "invalid_client"}, status_code=401), "ok"),
        (Response("<html>", media_type="text/html"), "problem"),
        (Response(status_code=404), "problem"),
        (Response(status_code=502), "problem"),
        (RedirectResponse("https://example.com/"), "problem"),
    ],
    ids=["HTTP 200 with an error", "401", "a page", "404", "502", "a redirect"],
)
async def test_a_token_endpoint_is_known_by_its_oauth_error(environ: Environ, answer: Response, level: str):
    async with published(environ) as (provider, variables):
        provider.answer_token = lambda _form: answer
        assert (await examine(variables))["token endpoint"].level == level
        assert provider.token_requests == [{"grant_type": "authorization_code"}]
        assert provider.authorizations == [None]


@pytest.mark.parametrize(("ahead", "level"), [(30.0, "ok"), (3600.0, "problem"), (-90.0, "problem")])
async def test_a_wrong_clock_is_a_problem(environ: Environ, ahead: float, level: str):
    async with published(environ, tells_time=False) as (provider, variables):
        told = format_datetime(datetime.fromtimestamp(time.time() - ahead, UTC), usegmt=True)
        refusal = JSONResponse({"error": "invalid_request"}, status_code=400, headers={"date": told})
        provider.answer_token = lambda _form: refusal
        found = (await examine(variables))["clock"]
        assert found.level == level
        if level == "problem":
            assert ("ahead of" if ahead > 0 else "behind") in found.text


@pytest.mark.parametrize("told", ["", "yesterday", "Mon, 99 Foo 2026 99:99:99 GMT"])
async def test_a_provider_that_tells_no_time_is_a_warning(environ: Environ, told: str):
    async with published(environ, tells_time=False) as (provider, variables):
        headers = {"date": told} if told else {}
        provider.answer_token = lambda _form: JSONResponse({"error": "x"}, status_code=400, headers=headers)
        assert (await examine(variables))["clock"].level == "warning"


async def test_a_key_set_without_a_key_is_a_problem(environ: Environ):
    async with published(environ) as (_, variables):
        found = await examine({**variables, "FMCP_OAUTH_JWKS_URI": f"{variables['FMCP_OAUTH_ISSUER']}/keys"})
        assert found["keys (JWKS)"].level == "problem"


@pytest.mark.threat("C02")
async def test_a_redirect_uri_whose_port_is_taken_is_a_problem_that_names_the_holder(environ: Environ):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = {"FMCP_OAUTH_REDIRECT_URI": f"http://127.0.0.1:{listener.getsockname()[1]}/callback"}
        async with published({**environ, **taken}) as (_, variables):
            found = (await examine(variables))["redirect URI"]
    assert found.level == "problem"
    assert str(os.getpid()) in found.text


# This machine


async def test_before_the_first_login_a_gateway_for_yourself_is_a_warning(environ: Environ):
    async with published(environ) as (_, variables):
        found = await examine(variables)
    assert found["login"].level == found["run --oauth"].level == "warning"
    assert "fluidmcp login" in found["run --oauth"].hint


async def test_nothing_configured_is_a_problem_that_names_all_variables(environ: Environ):
    done = await run_doctor(env=environ)
    assert done.code == 1
    for name in ("FMCP_OAUTH_AUTH_ENDPOINT", "FMCP_OAUTH_TOKEN_ENDPOINT", "FMCP_OAUTH_CLIENT_ID"):
        assert name in done.stdout.splitlines()[0]
    assert done.stdout.splitlines()[-1].endswith("found.")


@pytest.mark.promise(48)
async def test_a_wrong_setting_is_told_without_its_value(environ: Environ):
    done = await run_doctor(
        env={**environ, "FMCP_OAUTH_CLIENT_ID": "canary with spaces", "FMCP_OAUTH_ISSUER": "canary"}
    )
    assert done.code == 1
    assert "FMCP_OAUTH_CLIENT_ID" in done.stdout and "FMCP_OAUTH_ISSUER" in done.stdout
    assert "canary" not in done.stdout + done.stderr


async def test_a_token_in_the_environment_needs_nothing_else(environ: Environ):
    variables = {**environ, "FMCP_OAUTH_ACCESS_TOKEN": "canary-token"}
    done = await run_doctor(env=variables)
    assert done.code == 0, done.stdout
    assert done.stdout.splitlines()[-1] == "No problem found."
    assert "Lets in: the operator alone" in done.stdout
    assert "canary" not in done.stdout + done.stderr
    assert (await examine(variables, token="canary-token"))["token"].text == "would be let in: it is your own"


async def test_a_gateway_that_others_can_reach_must_say_who_may_come_in(environ: Environ):
    async with published(environ) as (provider, variables):
        provider.changes = {"userinfo_endpoint": f"{variables['FMCP_OAUTH_ISSUER']}/userinfo"}
        found = (await examine({**variables, "FMCP_PUBLIC_URL": "https://mcp.example.com"}))["run --oauth"]
        assert found.level == "problem"
        assert "FMCP_OAUTH_ALLOWED_SUBJECTS" in found.hint


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({}, "ok", "with a refresh token"),
        ({"refresh_token": None}, "warning", "without a refresh token"),
        ({"expires_at": -60.0}, "ok", "renews it"),
        ({"expires_at": -60.0, "refresh_token": None}, "problem", "no refresh token"),
        ({"is_refresh_refused": True, "refresh_token": None}, "problem", "no longer accepts"),
        ({"client_id": "another"}, "problem", "another provider or client"),
        ({"expires_at": None, "refresh_token": None}, "warning", "not known"),
    ],
    ids=repr,
)
async def test_the_stored_login_is_judged_by_its_end_and_its_refresh_token(
    environ: Environ, changes: dict[str, Any], level: str, words: str
):
    async with published(environ) as (_, variables):
        values: dict[str, Any] = {"refresh_token": Secret("canary-refresh"), "expires_at": 3600.0, **changes}
        if values["expires_at"] is not None:
            values["expires_at"] += time.time()
        TokenFile(Path(environ["HOME"])).save(StoredLogin(access_token=Secret("canary-access"), **values))
        found = await examine(variables)
        assert (found["login"].level, found["token file"].level) == (level, "ok")
        assert words in found["login"].text
        assert "canary" not in str(found)


async def test_a_token_file_that_others_could_read_is_a_warning(environ: Environ):
    token_file = TokenFile(Path(environ["HOME"]))
    token_file.save(StoredLogin(access_token=Secret("a"), expires_at=time.time() + 60))
    token_file.path.chmod(0o644)
    async with published(environ) as (_, variables):
        assert (await examine(variables))["token file"].level == "warning"
        assert token_file.path.stat().st_mode & 0o777 == 0o600
        assert (await examine(variables))["token file"].level == "ok"


@pytest.mark.threat("C08")
async def test_a_token_file_that_somebody_could_have_planted_is_a_problem(environ: Environ, tmp_path: Path):
    token_file = TokenFile(Path(environ["HOME"]))
    token_file.save(StoredLogin(access_token=Secret("a")))
    token_file.path.rename(tmp_path / "elsewhere")
    token_file.path.symlink_to(tmp_path / "elsewhere")
    async with published(environ) as (_, variables):
        assert (await examine(variables))["login"].level == "problem"


@pytest.mark.parametrize("stdin", ["", "two words\n", "x" * 9000], ids=["nothing", "words", "too long"])
async def test_something_that_is_no_token_on_standard_input_is_a_mistake_of_the_caller(environ: Environ, stdin: str):
    done = await run_doctor("--token", stdin=stdin, env=environ)
    assert done.code == 2
    assert done.stderr.startswith("Error: There is no token on standard input.")


def test_its_help_imports_nothing_of_the_gateway():
    code = (
        "import json, sys\n"
        "from fluidmcp.cli.main import run_commands\n"
        "run_commands(['doctor', '--help'])\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment())
    assert "  --token " in done.stdout
    assert set(json.loads(done.stdout.splitlines()[-1])).isdisjoint(HEAVY_MODULES)


async def test_a_token_cannot_be_given_as_an_argument(environ: Environ):
    done = await run_fluidmcp("doctor", "--token", "canary", env=environ)
    assert done.code == 2
    assert "Traceback" not in done.stderr


async def run_doctor(*arguments: str, env: Mapping[str, str], stdin: str = "") -> Finished:
    process = await asyncio.create_subprocess_exec(
        str(BIN / "fluidmcp"),
        "doctor",
        *arguments,
        env=environment(env),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(LIMIT_SECONDS):
        out, err = await process.communicate(stdin.encode())
    return Finished(await process.wait(), out.decode(), err.decode())


@pytest.mark.needs("redis-server")
async def test_a_redis_that_gateways_cannot_share_is_a_problem_with_its_reason(environ: Environ, tmp_path: Path):
    with running_redis(tmp_path, requirepass="the-password") as redis:
        shared = {**environ, "FMCP_SEAL_KEYS": seal_key("one").reveal(), "FMCP_REDIS_URL": redis.url.reveal()}
        assert (await examine(shared))["Redis"].level == "ok"
        wrong = await examine({**shared, "FMCP_REDIS_URL": f"redis://:wrong@127.0.0.1:{redis.port}"})
        assert "does not know this user with this password" in wrong["Redis"].text
        async with redis.client() as operator:
            rights = "on >pw ~fmcp1:* +@all -getdel".split()
            await operator.execute_command("ACL", "SETUSER", "few", *rights)
            await operator.config_set("maxmemory", "1")
        assert "is full" in (await examine(shared))["Redis"].text
        async with redis.client() as operator:
            await operator.config_set("maxmemory", "0")
        few = await examine({**shared, "FMCP_REDIS_URL": f"redis://few:pw@127.0.0.1:{redis.port}"})
        assert few["Redis"].level == "problem" and "its user may lack a right" in few["Redis"].text
        assert "docs/scaling.md" in few["Redis"].hint
    gone = (await examine(shared))["Redis"]
    assert gone.level == "problem" and "Nothing listens there" in gone.text
    assert "the-password" not in f"{gone}{wrong}{few}"


@pytest.mark.parametrize("typed", ["localhost:8099/mail/mcp", "mcp.example.com/mail/mcp", "localhost:8099"])
async def test_an_address_without_its_beginning_is_told_what_it_lacks(typed: str) -> None:
    done = await run_fluidmcp("doctor", typed)
    assert (done.code, done.stdout) == (2, "")
    assert f"Did you mean http://{typed}?" in done.stderr
