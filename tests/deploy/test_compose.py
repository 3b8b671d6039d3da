"""The parts of deploy/compose as processes of this machine: the commands, settings and files that stand there.

Only addresses, ports and folders are other ones, and the servers are those of the tests.
"""

import asyncio
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests import parts
from tests.acceptance.harness import Output, RunningGateway, free_port, start_fluidmcp
from tests.acceptance.nginx import serving
from tests.clients.logins.browser import OUR_CONSENT
from tests.clients.logins.driving import CLIENTS, DrivenClient, driven
from tests.clients.logins.test_logins import write_config
from tests.deploy.shipped import (
    COMPOSE,
    fill_in,
    read_compose,
    read_env_file,
    read_health_command,
    read_image_environment,
    read_services,
)
from tests.deploy.tools import run_python
from tests.known_servers.certificate import write_certificate
from tests.providers.oidc import CLIENT_ID, CLIENT_SECRET, OTHER_CLIENT_ID, running_oidc_provider

GATEWAYS: Final = ("gateway-1", "gateway-2", "gateway-3")
IDS: Final = ("python-sdk-1", "python-sdk-2-auto", "typescript-sdk-2-auto")
LIMIT_SECONDS: Final = 120.0


def prepare(folder: Path, url: str) -> dict[str, str]:
    """What the script makes, in a copy of the folder: the variables of `.env`."""
    shutil.copytree(COMPOSE, folder)
    subprocess.run([folder / "prepare", url], check=True, timeout=60, capture_output=True)
    return read_env_file(folder / ".env")


def address_of(service: str) -> str:
    return read_services()[service]["networks"]["front"]["ipv4_address"]


@asynccontextmanager
async def running_valkey(folder: Path) -> AsyncGenerator[int]:
    """The service `valkey`; its port."""
    program, configuration = read_services()["valkey"]["command"]
    assert (program, configuration) == ("valkey-server", "/etc/valkey/valkey.conf")
    port = free_port()
    text = (folder / "valkey.conf").read_text(encoding="utf-8")
    changes = {
        "port 6379": f"bind 127.0.0.1\nport {port}",
        "/etc/valkey/valkey.acl": str(folder / "valkey.acl"),
        "dir /data": f"dir {folder}",
    }
    for shown, ours in changes.items():
        assert shown in text
        text = text.replace(shown, ours)
    (folder / "changed.conf").write_text(text, encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        str(parts.require("redis-server")), str(folder / "changed.conf"), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    output = Output(process.stdout)
    try:
        await output.wait_for("Ready to accept connections")
        yield port
    finally:
        process.kill()
        await process.wait()
        await output.finish()


@asynccontextmanager
async def running_gateway(
    name: str, folder: Path, variables: Mapping[str, str], *, config: Path, port: int
) -> AsyncGenerator[RunningGateway]:
    """One of the services of that kind, with the settings of its image, of `.env` and of its own."""
    service = read_services()[name]
    home = folder / name
    home.mkdir(exist_ok=True)
    image = {k: v.replace("/var/lib/fluidmcp", str(home)) for k, v in read_image_environment().items() if k != "PATH"}
    changes = {
        "/etc/fluidmcp/servers.json": str(config),
        f"--trusted-proxies={address_of('nginx')}": "--trusted-proxies=127.0.0.1",
    }
    command = fill_in(service["command"], variables)
    assert set(changes) <= set(command)
    command = [changes.get(word, word) for word in command]
    env = {**image, **variables, **service["environment"]}
    async with start_fluidmcp(*command, env=env, cwd=home, port=port) as gateway:
        yield gateway


def is_healthy(port: int) -> bool:
    """What the health check of the image says."""
    program = read_health_command()
    assert ":8099/" in program
    command = [sys.executable, "-I", "-c", program.replace(":8099/", f":{port}/")]
    return subprocess.run(command, timeout=60, check=False, capture_output=True).returncode == 0


async def all_call(clients: Mapping[str, DrivenClient]) -> None:
    async with asyncio.timeout(LIMIT_SECONDS):
        answers = await asyncio.gather(*(client.call() for client in clients.values()))
    assert all(len(answer) == 64 for answer in answers)


@pytest.mark.needs("nginx", "node", "oidc-provider", "redis-server")
async def test_what_compose_runs_lets_clients_log_in_and_outlives_two_of_three_gateways(tmp_path: Path) -> None:
    present = [client for client in CLIENTS if client.id in IDS]
    if missing := [why for client in present if (why := client.find_missing())]:
        pytest.skip("; ".join(missing))
    port, folder = free_port(), tmp_path / "compose"
    url = f"https://localhost:{port}"
    async with AsyncExitStack() as running:
        company = running.enter_context(running_oidc_provider(gateway_url=url))
        config = write_config(tmp_path, company, allowed_subjects=["alice"])
        valkey_env = prepare(folder, url)
        valkey_port = await running.enter_async_context(running_valkey(folder))
        variables = {
            **valkey_env,
            "FMCP_REDIS_URL": valkey_env["FMCP_REDIS_URL"].replace("@valkey:6379/", f"@127.0.0.1:{valkey_port}/"),
            # As its operator adds them for --oauth; the last two are those of the package `mail`.
            "FMCP_GUARD": "--oauth",
            "FMCP_OAUTH_ISSUER": company.issuer,
            "FMCP_OAUTH_CLIENT_ID": OTHER_CLIENT_ID,
            "FMCP_OAUTH_CLIENT_SECRET": CLIENT_SECRET,
            "FMCP_OAUTH_SCOPE": "openid email",
            "FMCP_OAUTH_ALLOWED_SUBJECTS": "alice",
            "FMCP_ALLOW_PRIVATE_PROVIDERS": "1",
            "MAIL_CLIENT_ID": CLIENT_ID,
            "MAIL_CLIENT_SECRET": CLIENT_SECRET,
        }
        variables.pop("FMCP_SECURE_TOKEN")
        ports = {name: free_port() for name in GATEWAYS}
        stacks = {name: await running.enter_async_context(AsyncExitStack()) for name in GATEWAYS}
        started: dict[str, RunningGateway] = {}
        for name in GATEWAYS:
            gateway = running_gateway(name, tmp_path, variables, config=config, port=ports[name])
            started[name] = await stacks[name].enter_async_context(gateway)
            assert is_healthy(ports[name])
        authority, certificate = write_certificate(tmp_path, ["localhost"])
        changes: dict[str, str] = {f"{address_of(name)}:8099": f"127.0.0.1:{ports[name]}" for name in GATEWAYS}
        changes |= {
            "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
            "/etc/nginx/tls/fullchain.pem": str(certificate),
            "/etc/nginx/tls/privkey.pem": str(certificate),
        }
        await running.enter_async_context(serving(tmp_path, (folder / "nginx.conf").read_text(), changes))
        clients: dict[str, DrivenClient] = {}
        for client in present:
            (tmp_path / client.id).mkdir()
            client_running = driven(
                client, f"{url}/tools/mcp", tmp_path / client.id, gateway_url=url, authority=authority
            )
            clients[client.id] = await running.enter_async_context(client_running)
        async with asyncio.timeout(LIMIT_SECONDS):
            await asyncio.gather(*(client.wait_called() for client in clients.values()))
        for name in GATEWAYS[:2]:
            await started[name].stop(with_signal=signal.SIGKILL)
            assert not is_healthy(ports[name])
            await all_call(clients)
        for gateway in started.values():
            told = [json.loads(line) for line in gateway.stderr.lines]
            assert {line["message"] for line in told if line["logger"] == "fluidmcp.access"} <= {"call"}
        assert any("fluidmcp.access" in line for gateway in started.values() for line in gateway.stderr.lines)
        for client in clients.values():
            assert [trip.pages for trip in client.trips] == [[OUR_CONSENT, "login", "consent"]], "once"


def test_the_script_makes_keys_once_and_writes_no_password_for_valkey(tmp_path: Path) -> None:
    variables = prepare(tmp_path / "compose", "https://mcp.example.com")
    assert variables["FMCP_PUBLIC_URL"] == "https://mcp.example.com"
    secret = [variables[name] for name in ("FMCP_SEAL_KEYS", "FMCP_SECURE_TOKEN", "FMCP_REDIS_URL")]
    assert all(len(value) >= 44 for value in secret)
    assert (tmp_path / "compose" / ".env").stat().st_mode & 0o777 == 0o600
    users = (tmp_path / "compose" / "valkey.acl").read_text(encoding="utf-8")
    password = variables["FMCP_REDIS_URL"].split(":")[2].partition("@")[0]
    assert len(password) == 64
    assert password not in users
    assert users.startswith("user default off\n")
    again = subprocess.run(
        [tmp_path / "compose" / "prepare", "https://x"], check=False, capture_output=True, timeout=60
    )
    assert again.returncode == 1
    assert read_env_file(tmp_path / "compose" / ".env") == variables


def test_the_rights_of_valkeys_user_are_those_of_the_page() -> None:
    page = (parts.ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    shown = page.split("ACL SETUSER fluidmcp on >PASSWORD ~fmcp1:* ")[1].split("\n")[0]
    script = (COMPOSE / "prepare").read_text(encoding="utf-8")
    rights = [word for line in script.splitlines() if line.startswith("rights=") for word in line.split('"')[1].split()]
    assert [word for word in rights if word != "$rights"] == shown.split()


@pytest.mark.needs("deploy-tools")
@pytest.mark.parametrize(
    ("shown", "wrong"),
    [("", ""), ("read_only: true", "read_onyl: true"), ("- ALL", "- {a: b}"), ("pids_limit: ", "pids: ")],
)
def test_the_file_is_one_of_the_compose_specification(shown: str, wrong: str) -> None:
    """By compose_spec, which refuses keys that it does not know; merge keys are resolved before."""
    text = yaml.safe_dump(read_compose())
    assert shown in text
    program = "import compose_spec as c, sys; c.PyCompose.from_yaml(sys.stdin.read()).validate()"
    code, told = run_python(program, stdin=text.replace(shown, wrong) if shown else text)
    assert (code == 0) == (not shown), told


def test_nothing_in_the_file_is_a_secret_and_nobody_gets_more_than_they_need() -> None:
    services = read_services()
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["restart"] == "unless-stopped", name
        assert ("ports" in service) == (name == "nginx"), name
        assert "privileged" not in service, name
    text = (COMPOSE / "compose.yaml").read_text(encoding="utf-8")
    assert not any(f"{name}=" in text or f"{name}:" in text for name in ("FMCP_SEAL_KEYS", "FMCP_SECURE_TOKEN"))
    assert "cap_add" not in services["gateway-1"]
    assert read_compose()["networks"]["back"]["internal"] is True


def test_the_log_is_json_unless_the_operator_wants_text() -> None:
    for name in GATEWAYS:
        command = read_services()[name]["command"]
        assert "--log-format=json" in fill_in(command, {})
        assert "--log-format=text" in fill_in(command, {"FMCP_LOG_FORMAT": "text"})


def test_the_three_gateways_differ_in_name_address_and_volume_alone() -> None:
    def without_own(name: str) -> dict[str, Any]:
        service = {k: v for k, v in read_services()[name].items() if k not in ("environment", "networks", "volumes")}
        volumes = [volume.replace(f"{name}:", "own:") for volume in read_services()[name]["volumes"]]
        return {**service, "volumes": volumes}

    assert without_own("gateway-1") == without_own("gateway-2") == without_own("gateway-3")
    assert [read_services()[name]["environment"]["FMCP_REPLICA"] for name in GATEWAYS] == list(GATEWAYS)
    assert len({address_of(name) for name in GATEWAYS}) == 3
