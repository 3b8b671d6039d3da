"""`doctor FILE`, typed where the gateway would run: mistakes in the file and the environment, each made for real."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from tests.acceptance.harness import run_fluidmcp
from tests.clients.logins.test_logins import write_config
from tests.providers.oidc import CLIENT_ID, CLIENT_SECRET, OidcProvider, running_oidc_provider

pytestmark = pytest.mark.needs("node", "oidc-provider")

ENVIRON: Final[Mapping[str, str]] = {"MAIL_CLIENT_ID": CLIENT_ID, "MAIL_CLIENT_SECRET": CLIENT_SECRET}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """A change to a good file or environment, and how doctor names it."""

    subject: str
    cause: str
    remedy: str
    auth: Mapping[str, Any] = field(default_factory=dict[str, Any])
    entry: Mapping[str, Any] = field(default_factory=dict[str, Any])
    environ: Mapping[str, str] = field(default_factory=lambda: dict(ENVIRON))
    public_url: str = "http://localhost:8099"


MISTAKES: Final = {
    "no client id": Mistake(
        environ={"MAIL_CLIENT_SECRET": CLIENT_SECRET},
        subject="client",
        cause="not set: MAIL_CLIENT_ID",
        remedy="Export what the provider gave you.",
    ),
    "another client id": Mistake(
        environ={**ENVIRON, "MAIL_CLIENT_ID": "nobody"},
        subject="authorization endpoint",
        cause="answers the login request with HTTP 400",
        remedy="check the client id",
    ),
    "redirect URI not registered": Mistake(
        public_url="http://localhost:8123",
        subject="authorization endpoint",
        cause="answers the login request with HTTP 400",
        remedy="Register the redirect URI letter by letter",
    ),
    "wrong issuer": Mistake(
        auth={"issuer": "http://127.0.0.1:1"},
        subject="discovery",
        cause="cannot be reached",
        remedy="Check the addresses of the provider",
    ),
    "issuer of another": Mistake(
        auth={"issuer": "{issuer}/"},
        subject="discovery",
        cause="issuer",
        remedy="Check issuer.",
    ),
    "token address of another": Mistake(
        auth={"token_url": "{issuer}/auth", "issuer": None},
        subject="token endpoint",
        cause="no OAuth error",
        remedy="Check token_url.",
    ),
    "no such command": Mistake(
        entry={"command": "no-such-program"},
        subject="server",
        cause="The command of mail is not found: no-such-program",
        remedy="correct the command",
    ),
    "no such folder": Mistake(
        entry={"cwd": "/no/such/folder"},
        subject="server",
        cause="The working directory of mail is not there",
        remedy="Create it",
    ),
}


@pytest.fixture(scope="module")
def provider() -> Iterator[OidcProvider]:
    with running_oidc_provider() as running:
        yield running


def write(folder: Path, provider: OidcProvider, mistake: Mistake) -> Path:
    """A member of `auth` that is None is left out."""
    path = write_config(folder, provider)
    good = json.loads(path.read_text(encoding="utf-8"))["mcpServers"]["mail"]
    changes = {k: v and v.replace("{issuer}", provider.issuer) for k, v in mistake.auth.items()}
    auth = {name: value for name, value in {**good["auth"], **changes}.items() if value is not None}
    mail = {**good, **mistake.entry, "auth": auth}
    path.write_text(json.dumps({"mcpServers": {"mail": mail}}), encoding="utf-8")
    return path


async def diagnose(path: Path, mistake: Mistake) -> tuple[int, list[dict[str, Any]]]:
    """The exit code, and the findings that are not ok."""
    arguments = ["doctor", str(path), "--json", "--public-url", mistake.public_url]
    done = await run_fluidmcp(*arguments, env=mistake.environ)
    assert CLIENT_SECRET not in done.stdout + done.stderr
    findings = json.loads(done.stdout)["findings"]
    return done.code, [one for one in findings if one["level"] != "ok"]


@pytest.mark.parametrize("name", MISTAKES)
async def test_a_mistake_in_a_file_is_named_alone(name: str, provider: OidcProvider, tmp_path: Path) -> None:
    mistake = MISTAKES[name]
    code, found = await diagnose(write(tmp_path, provider, mistake), mistake)
    assert [one["subject"] for one in found] == [mistake.subject], found
    assert mistake.cause in found[0]["cause"] and mistake.remedy in found[0]["remedy"], found
    assert code == (1 if found[0]["level"] == "problem" else 0)


async def test_a_good_file_is_fine(provider: OidcProvider, tmp_path: Path) -> None:
    good = Mistake(subject="", cause="", remedy="")
    assert await diagnose(write(tmp_path, provider, good), good) == (0, [])


async def test_a_package_that_is_not_there_is_told(tmp_path: Path) -> None:
    done = await run_fluidmcp("doctor", "somebody/something@1.0.0", cwd=tmp_path)
    assert (done.code, "somebody/something" in done.stderr, "Do:" in done.stderr) == (2, True, True), done
