"""Each of these mistakes is made for real, and doctor has to name it alone, with cause and remedy, in five seconds."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fluidmcp.config.clients import ClientRules
from tests.cli.doctor.stage import LOCATION, WELL_KNOWN, Fault, Stage, codes, look, staged
from tests.cli.doctor.wrong_certificates import Wrong, write_wrong

pytestmark = pytest.mark.needs("nginx", "node", "oidc-provider")

ALWAYS = {"not_public"}
"""The stage is at localhost, which services do not reach."""


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged() as stage:
        yield stage


PAGE_FOR_ALL = '    location /.well-known/ { default_type text/html; return 200 "<p>x"; }\n'
PROXY_FAULTS = [
    Fault(
        code="path_changed",
        nginx={f"{LOCATION}        proxy_pass http://fluidmcp;": f"{LOCATION}        proxy_pass http://fluidmcp/;"},
    ),
    Fault(code="host_refused", nginx={"    proxy_set_header Host $host;\n": ""}),
    Fault(
        code="redirect_slash",
        nginx={LOCATION: f"    location = /tools/mail/mcp {{ return 301 $scheme://$http_host$uri/; }}\n{LOCATION}"},
    ),
    Fault(
        code="redirect_elsewhere",
        nginx={LOCATION: f"{LOCATION}        return 302 https://sso.example.com/login;\n"},
    ),
    Fault(code="well_known_missing", nginx={WELL_KNOWN: "    location /nothing/ {\n"}),
    Fault(
        code="well_known_replaced",
        nginx={
            WELL_KNOWN: f"{PAGE_FOR_ALL}    location /nothing/ {{\n",
        },
    ),
    Fault(
        code="authorization_stripped",
        nginx={"    proxy_buffering off;": '    proxy_set_header Authorization "";\n    proxy_buffering off;'},
    ),
    Fault(
        code="challenge_missing",
        nginx={"    proxy_buffering off;": "    proxy_hide_header WWW-Authenticate;\n    proxy_buffering off;"},
    ),
    Fault(
        code="origin_added",
        nginx={"    proxy_buffering off;": "    proxy_set_header Origin $host;\n    proxy_buffering off;"},
    ),
    Fault(code="body_limit", nginx={"client_max_body_size 10m;": "client_max_body_size 1m;"}),
    Fault(
        code="client_blocked",
        nginx={LOCATION: f'{LOCATION}        if ($http_user_agent ~ "Claude") {{ return 403; }}\n'},
    ),
    Fault(code="blocked", nginx={LOCATION: f"{LOCATION}        deny all;\n"}),
    Fault(code="another_site", nginx={LOCATION: "    location /other/ {\n"}),
    Fault(code="gateway_down", has_gateway=False),
    Fault(code="no_answer", nginx={"server 127.0.0.1:8099;": "server 127.0.0.1:{silent};"}),
    Fault(
        code="redirect_https",
        nginx={
            "server {\n    listen 443 ssl;": "server {\n    listen 127.0.0.1:{free};\n"
            "    return 301 https://localhost:{port}$request_uri;\n}\nserver {\n    listen 443 ssl;"
        },
        typed="http://localhost:{free}/tools/mail/mcp",
    ),
    Fault(code="not_http", typed="http://localhost:{port}/tools/mail/mcp"),
    Fault(code="not_https", typed="https://localhost:{gateway_port}/tools/mail/mcp"),
    Fault(code="unreachable", typed="https://localhost:{free}/tools/mail/mcp"),
]
STREAM_FAULTS = [
    Fault(
        code="stream_buffered",
        nginx={"proxy_buffering off;": "proxy_ignore_headers X-Accel-Buffering;"},
        typed="{public}/open/mcp",
    ),
    Fault(
        code="stream_compressed",
        nginx={"proxy_buffering off;": "proxy_buffering off; gzip on; gzip_proxied any; gzip_types text/event-stream;"},
        typed="{public}/open/mcp",
    ),
    Fault(code="stream_cut", nginx={"proxy_read_timeout 1h;": "proxy_read_timeout 1s;"}, typed="{public}/open/mcp"),
    Fault(
        code="session_lost",
        nginx={"    proxy_buffering off;": '    proxy_set_header Mcp-Session-Id "";\n    proxy_buffering off;'},
        typed="{public}/open/mcp",
    ),
]
GATEWAY_FAULTS = [
    Fault(code="public_url_scheme", gateway={"public_url": "http://localhost:{port}/tools"}),
    Fault(code="public_url_host", gateway={"public_url": "https://127.0.0.1:{port}/tools"}),
    Fault(code="public_url_port", gateway={"public_url": "https://localhost:{gateway_port}/tools"}),
    Fault(
        code="public_url_path",
        gateway={"public_url": "https://localhost:{port}"},
        nginx={f"{LOCATION}        proxy_pass http://fluidmcp;": f"{LOCATION}        proxy_pass http://fluidmcp/;"},
    ),
    Fault(code="package_missing", typed="{public}/males/mcp"),
    Fault(code="trailing_slash", typed="{public}/mail/mcp/"),
    Fault(code="no_endpoint", typed="{public}/mail"),
    Fault(code="server_failed", typed="{public}/broken/mcp"),
    Fault(code="registration_refused", gateway={"client_rules": ClientRules(denied=("cursor:",))}),
    Fault(code="registration_missing", gateway={"client_rules": ClientRules(dynamic_registration=False)}),
]
PROVIDER_FAULTS = [
    Fault(code="offline_access_missing", auth={"scopes": ("openid", "mail.read")}),
    Fault(code="client_secret_wrong", environ={"MAIL_CLIENT_ID": "gateway", "MAIL_CLIENT_SECRET": "another"}),
    Fault(code="provider_client", environ={"MAIL_CLIENT_ID": "nobody", "MAIL_CLIENT_SECRET": "x"}),
    Fault(code="login_unconfigured", environ={}),
    Fault(code="redirect_not_registered", typed="{public}/letters/mcp"),
    Fault(code="provider_unreachable_inside", auth={"token_url": "http://localhost:1/token"}),
]
FAULTS = [*PROXY_FAULTS, *STREAM_FAULTS, *GATEWAY_FAULTS, *PROVIDER_FAULTS]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.code)
async def test_a_seeded_fault_is_named_alone(fault: Fault, stage: Stage, tmp_path: Path) -> None:
    report = await stage.examine(tmp_path, fault)
    assert set(codes(report)) - ALWAYS == {fault.code}, codes(report)


@pytest.mark.parametrize("package", ["mail", "open"])
async def test_nothing_is_found_where_nothing_is_wrong(package: str, stage: Stage, tmp_path: Path) -> None:
    report = await stage.examine(tmp_path, Fault(code="", typed=f"{{public}}/{package}/mcp"))
    assert set(codes(report)) == ALWAYS
    assert not report.has_problem


CERTIFICATES: dict[str, Wrong] = {
    "certificate_expired": "expired",
    "certificate_not_yet_valid": "not yet valid",
    "certificate_self_signed": "self-signed",
    "certificate_wrong_name": "wrong name",
    "certificate_chain_incomplete": "incomplete",
    "certificate_unknown_authority": "unknown",
}


@pytest.mark.parametrize("code", CERTIFICATES)
async def test_a_wrong_certificate_is_named_alone(code: str, stage: Stage, tmp_path: Path) -> None:
    pair = write_wrong(tmp_path, CERTIFICATES[code])
    async with stage.running(tmp_path, Fault(code=code, has_gateway=False), pair=pair) as trusted:
        report = await look(f"{stage.public_url}/mail/mcp", trusted)
    assert set(codes(report)) - ALWAYS == {code}, codes(report)
    said = codes(report)[code]
    assert ("other.example, not for localhost" in said) == (code == "certificate_wrong_name")


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_clock_that_is_an_hour_off_is_named(hours: int, stage: Stage, tmp_path: Path) -> None:
    """That of this machine, which the gateway's and the provider's contradict."""
    report = await stage.examine(tmp_path, Fault(code="clock"), now=lambda: time.time() + hours * 3600)
    assert set(codes(report)) - ALWAYS == {"clock"}, codes(report)
    assert f"is 60 minutes {'ahead of' if hours > 0 else 'behind'} the gateway's" in codes(report)["clock"]
