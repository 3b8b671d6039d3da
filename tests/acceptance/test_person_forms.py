"""A person's credential in every form that servers want: each person's process has exactly that person's."""

import asyncio
import json
import os
import secrets
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import httpx2
import psutil
import pytest

from tests.acceptance.harness import start_fluidmcp
from tests.acceptance.persons import CLIENT_ID, ENVIRONMENT, LIMIT_SECONDS, running_persons, token

SERVER: Final = Path(__file__).parent.parent / "servers" / "probe_server.py"
TOKEN: Final = "${auth.access_token}"
HAS_USER_IDS: Final = os.geteuid() == 0 and os.path.exists("/usr/bin/python3")
PYTHON: Final = "/usr/bin/python3" if HAS_USER_IDS else sys.executable
"""One that other users may execute too."""
LEVELS: Final = ("none", "landlock", "auto", *(("uid",) if HAS_USER_IDS else ()))


def choose_user_ids() -> dict[str, str]:
    first = 400_000 + 1000 * secrets.randbelow(1000)
    return {"FMCP_UID_RANGE": f"{first}-{first + 99}"} if HAS_USER_IDS else {}


def build_entry(auth: dict[str, Any], level: str, server: Path) -> dict[str, Any]:
    return {
        "command": PYTHON,
        "args": ["-B", str(server), "--key", TOKEN, "--who=${person.sub}"],
        "secrets_in_args": True,
        "env": {
            "HEADER": f"Bearer {TOKEN}",
            "HEADERS": {"json": {"Authorization": f"Bearer {TOKEN}", "Version": 1}},
            "DSN": "postgresql://${person.sub|url}:${auth.access_token|base64|url}@${HOST}/db",
            "SCOPE": "${auth.scope}/${auth.client_id}",
        },
        "files": {
            "~/.mail/login/credentials.json": {"json": {"access_token": TOKEN, "list": [{"sub": "${person.sub}"}]}},
            "~/.config/tool.ini": {"text": f"[login]\ntoken = {TOKEN}\n"},
            "creds.json": {"json": {"token": TOKEN}, "env": "TOOL_CREDENTIALS"},
        },
        "auth": {key: value for key, value in auth.items() if key != "env_var_name"},
        "isolation": level,
        "paths": {"read": [str(server.parent)]},
    }


async def report(client: httpx2.AsyncClient, package: str, who: str, **arguments: Any) -> dict[str, Any]:
    call = {"name": "report", "arguments": {"home": True, **arguments}}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
    headers = {"authorization": f"Bearer {token(who)}"}
    answer = await client.post(f"/{package}/mcp", json=message, headers=headers)
    assert answer.status_code == 200, answer.text
    return json.loads(answer.json()["result"]["content"][0]["text"])


def check(told: dict[str, Any], who: str, encoded: str) -> None:
    mine = token(who)
    assert told["argv"][1:] == ["--key", mine, f"--who={who}"]
    env: dict[str, str] = told["env"]
    home: dict[str, list[Any]] = told["home"]
    assert env["HEADER"] == f"Bearer {mine}"
    assert json.loads(env["HEADERS"]) == {"Authorization": f"Bearer {mine}", "Version": 1}
    assert env["DSN"] == f"postgresql://{who}:{encoded}@db.example/db"
    assert env["SCOPE"] == f"mail/{CLIENT_ID}"
    paths = (".mail/login/credentials.json", ".config/tool.ini", os.path.relpath(env["TOOL_CREDENTIALS"], env["HOME"]))
    modes = [home[path][:2] for path in paths]
    assert modes == [["0o600", True]] * 3
    texts = [home[path][2] for path in paths]
    assert json.loads(texts[0]) == {"access_token": mine, "list": [{"sub": who}]}
    assert texts[1] == f"[login]\ntoken = {mine}\n"
    assert json.loads(texts[2]) == {"token": mine}
    folders = {path: about[:2] for path, about in home.items() if about[2] is None}
    assert {".mail", ".mail/login", ".config"} <= folders.keys()
    assert all(about == ["0o700", True] for about in folders.values()), folders
    other = token("bo" if who == "ada" else "ada")
    assert other not in json.dumps(told)


@pytest.mark.threat("B37", "E07", "E12")
async def test_each_person_has_their_own_in_every_form(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="forms-") as place:
        # Other users get through it, unlike through pytest's own folder.
        os.chmod(place, 0o711)
        homes, program = Path(place, "homes"), Path(place, "program")
        for folder in (homes, program):
            folder.mkdir()
            folder.chmod(0o755)
        server = Path(shutil.copy(SERVER, program))
        server.chmod(0o644)
        await try_every_form(tmp_path, homes, server)
        assert list(homes.glob("fluidmcp-*")) == []


async def try_every_form(tmp_path: Path, homes: Path, server: Path) -> None:
    async with running_persons() as auth:
        servers = {level: build_entry(auth, level, server) for level in LEVELS}
        config = tmp_path / "servers.json"
        config.write_text(json.dumps({"mcpServers": servers}), encoding="utf-8")
        env = {"HOME": str(tmp_path), "TMPDIR": str(homes), "HOST": "db.example", "FMCP_LOG_LEVEL": "debug"}
        env |= ENVIRONMENT | choose_user_ids()
        async with start_fluidmcp("run", str(config), "--start-server", env=env, cwd=tmp_path) as gateway:
            async with httpx2.AsyncClient(trust_env=False, timeout=LIMIT_SECONDS, base_url=gateway.url) as client:
                for level in LEVELS:
                    ada, bo = await asyncio.gather(report(client, level, "ada"), report(client, level, "bo"))
                    check(ada, "ada", "Z29vZC5hZGEuMQ%3D%3D")
                    check(bo, "bo", "Z29vZC5iby4x")
                    assert ada["env"]["HOME"] != bo["env"]["HOME"]
                    # In namespaces nothing of it is on a disk: the home is a file system in memory.
                    on_disk = os.path.exists(f"{ada['env']['HOME']}/.mail/login/credentials.json")
                    assert on_disk is (level in ("none", "landlock", "uid"))
                shown = f"Bearer {token('ada')} Z29vZC5hZGEuMQ== Z29vZC5hZGEuMQ%3D%3D end"
                await report(client, "none", "ada", stderr=shown)
                await gateway.stderr.wait_for("Bearer *** *** *** end")
                health = await client.get("/health")
            ours = [psutil.Process(gateway.pid), *gateway.descendants()]
            environments = [process.environ() for process in ours if "probe_server" not in str(process.cmdline())]
            assert await gateway.stop() == 0
            written = gateway.report() + health.text + repr(environments)
    for secret in (token("ada"), token("bo"), "Z29vZC5hZGEuMQ", "Z29vZC5iby4x"):
        assert secret not in written


@pytest.mark.threat("E12")
async def test_what_a_person_s_value_names_is_not_opened_to_the_process(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="forms-") as place:
        secret = Path(place, "secret")
        secret.write_text("of the operator", encoding="utf-8")
        config = tmp_path / "servers.json"
        async with running_persons() as auth:
            entry = build_entry(auth, "landlock", SERVER) | {
                "command": sys.executable,
                "files": {"~/who": {"text": "${person.sub}"}},
            }
            named = entry | {"env": {"PLACE": str(secret)}}
            chosen = entry | {"env": {"PLACE": "${person.sub}"}}
            config.write_text(json.dumps({"mcpServers": {"named": named, "chosen": chosen}}), encoding="utf-8")
            env = {"HOME": str(tmp_path), **ENVIRONMENT}
            async with start_fluidmcp("run", str(config), "--start-server", env=env, cwd=tmp_path) as gateway:
                async with httpx2.AsyncClient(trust_env=False, timeout=LIMIT_SECONDS, base_url=gateway.url) as client:
                    for package, found in (("named", "of the operator"), ("chosen", "PermissionError")):
                        told = await report(client, package, str(secret), read=str(secret))
                        assert (told["env"]["PLACE"], told["argv"][-1]) == (str(secret), f"--who={secret}")
                        assert told["read"] == found
