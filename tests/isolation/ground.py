"""The ground on which a gateway of these tests stands: an operator's files, with something to steal in each."""

import contextlib
import ctypes
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.isolation.loot import Loot, make_key_loot, make_loot

SERVERS: Final = Path(__file__).resolve().parent.parent / "servers"
LOOT_NAMES: Final = (
    "client_secret",
    "gateway_secret",
    "tokens",
    "env_file",
    "config",
    "other_package",
    "ssh_key",
    "agent",
    "session_key",
    "typed",
)
_MQ_UNLINK: Final = 241


@dataclass(frozen=True, slots=True)
class Ground:
    """A folder below the system's temporary one. `paths` are the places that attackers are told."""

    folder: Path
    uid: int
    loot: dict[str, Loot]
    paths: dict[str, str]

    @property
    def work(self) -> Path:
        return self.folder / "work"

    def give(self, *paths: Path) -> None:
        """Make the operator own them."""
        if os.geteuid() == 0:
            for path in paths:
                os.chown(path, self.uid, self.uid, follow_symlinks=False)

    def environment(self, level: str) -> dict[str, str]:
        environment = {
            "HOME": str(self.folder / "home"),
            "TMPDIR": str(self.folder / "tmp"),
            "FMCP_SEAL_KEYS": self.loot["seal_keys"].value,
            "FMCP_OAUTH_CLIENT_SECRET": self.loot["gateway_secret"].value,
            "MAIL_CLIENT_ID": "our-client",
            "MAIL_CLIENT_SECRET": self.loot["client_secret"].value,
        }
        if level in ("uid", "auto"):
            first = 400_000 + 1000 * secrets.randbelow(1000)
            environment["FMCP_UID_RANGE"] = f"{first}-{first + 99}"
        return {**environment, "FMCP_ISOLATION": level}


@contextmanager
def make_ground(uid: int, address: str, *, settings: dict[str, Any] | None = None) -> Generator[Ground]:
    """All of it, owned by `uid`; `address` is that of the provider. Nothing is left of it at the end."""
    folder = Path(tempfile.mkdtemp(prefix="fluidmcp-ground-", dir="/tmp"))
    loot = {name: make_loot(name) for name in LOOT_NAMES} | {"seal_keys": make_key_loot("seal_keys")}
    ground = Ground(folder, uid, loot, {})
    try:
        with contextlib.ExitStack() as open_sockets:
            _write_all(ground, address, settings or {})
            listener = open_sockets.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(ground.paths["agent"])
            listener.listen(128)
            _own(ground)
            threading.Thread(target=_answer, args=(listener, loot["agent"].value.encode()), daemon=True).start()
            try:
                yield ground
            finally:
                listener.shutdown(socket.SHUT_RDWR)
    finally:
        # Not `shutil`: what hostile servers leave may be deeper than its recursion goes.
        subprocess.run(["rm", "-rf", "--", folder], check=True)


def _answer(listener: socket.socket, text: bytes) -> None:
    """The operator's agent says what it keeps to whoever gets as far as its socket."""
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(text)


def remove_shared(label: str) -> None:
    """What a hostile server left in /dev/shm and among the message queues of the machine."""
    Path(f"/dev/shm/{label}").unlink(missing_ok=True)
    ctypes.CDLL(None).syscall(ctypes.c_long(_MQ_UNLINK), ctypes.c_char_p(label.encode()))


def _write_all(ground: Ground, address: str, settings: dict[str, Any]) -> None:
    folder = ground.folder
    folder.chmod(0o755)
    value = {name: loot.value for name, loot in ground.loot.items()}
    files = {
        "tokens": ("home/.fluidmcp/oauth/tokens.json", json.dumps({"access_token": value["tokens"]})),
        "bashrc": ("home/.bashrc", "# the operator's shell\n"),
        "ssh_key": ("home/.ssh/id_ed25519", value["ssh_key"]),
        "npm_cached": ("home/.npm/_npx/1/package.json", "{}"),
        "uv_cached": ("home/.cache/uv/archive/1/module.py", ""),
        "env_file": ("work/.env", f"SOME_KEY={value['env_file']}\n"),
        "config": ("work/servers.json", json.dumps({"mcpServers": _entries(ground, address, settings)})),
        "installed": ("work/.fmcp-packages/ann/tool/1.0.0/metadata.json", "{}"),
        "other_secret": ("packages/other/secret.txt", value["other_package"]),
        "session_key": ("session-key", value["session_key"]),
    }
    for name, (path, text) in files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        place.write_text(text, encoding="utf-8")
        place.chmod(0o600)
        ground.paths[name] = str(place)
    (folder / "tmp").mkdir()
    package = folder / "packages" / "mail"
    shutil.copytree(SERVERS / "hostile", package / "hostile", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(SERVERS / "hostile_server.py", package)
    ground.paths.update(
        npm_cache=str(folder / "home/.npm"),
        uv_cache=str(folder / "home/.cache/uv"),
        oauth_folder=str(folder / "home/.fluidmcp/oauth"),
        other_folder=str(folder / "packages/other"),
        own_package=str(package),
        own_program=str(package / "hostile_server.py"),
        packages=str(folder / "work/.fmcp-packages/ann/tool"),
        work=str(folder / "work"),
        agent=str(folder / "home/agent.socket"),
        setuid=str(package / "setuid-cat"),
    )


def _entries(ground: Ground, address: str, settings: dict[str, Any]) -> dict[str, Any]:
    package = str(ground.folder / "packages" / "mail")
    command = {
        "command": sys.executable,
        "args": ["-B", f"{package}/hostile_server.py"],
        "paths": {"read": [package]},
    }
    auth = {
        "type": "oauth2",
        "flow": "pkce",
        "authorization_url": f"{address}/authorize",
        "token_url": f"{address}/token",
        "introspection_url": f"{address}/introspect",
        "scopes": ["mail"],
        "client_id_env": "MAIL_CLIENT_ID",
        "client_secret_env": "MAIL_CLIENT_SECRET",
        "token_endpoint_auth_method": "post",
        "env_var_name": "GMAIL_ACCESS_TOKEN",
    }
    other = {"command": "true", "env": {"API_KEY": ground.loot["config"].value}}
    return {"mail": {**command, "auth": auth, **settings}, "open": {**command, **settings}, "other": other}


def _own(ground: Ground) -> None:
    """The operator owns it all; a private home, a temporary folder for everybody, and a program that is root's."""
    ground.give(ground.folder, *ground.folder.rglob("*"))
    for name in ("home", "home/.ssh", "home/.fluidmcp", "home/.fluidmcp/oauth"):
        (ground.folder / name).chmod(0o700)
    Path(ground.paths["agent"]).chmod(0o600)
    (ground.folder / "tmp").chmod(0o1777)
    program = Path(ground.paths["setuid"])
    shutil.copy("/bin/cat", program)
    program.chmod(0o4755)


def make_label() -> str:
    return f"fluidmcp-hostile-{secrets.token_hex(8)}"
