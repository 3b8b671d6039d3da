"""A registry of npm and an index of PyPI on loopback, with packages that are made in the test; npm and uv are real."""

import base64
import hashlib
import html
import io
import json
import tarfile
import threading
import zipfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

SERVERS: Final = Path(__file__).resolve().parents[2] / "servers"
JAVASCRIPT_SERVER: Final = """#!/usr/bin/env node
const lines = require('readline').createInterface({input: process.stdin});
const info = {capabilities: {tools: {}}, serverInfo: {name: 'js', version: '1'}};
lines.on('line', (line) => {
  const {id, method, params} = JSON.parse(line);
  if (id === undefined) return;
  const answer = (result) => console.log(JSON.stringify({jsonrpc: '2.0', id, result}));
  if (method === 'initialize') answer({protocolVersion: params.protocolVersion, ...info});
  else if (method === 'tools/list') answer({tools: [{name: 'hello', inputSchema: {type: 'object'}}]});
  else console.log(JSON.stringify({jsonrpc: '2.0', id, error: {code: -32601, message: 'no such method'}}));
});
"""
PYTHON_SERVER: Final = (SERVERS / "stdlib_server.py").read_text(encoding="utf-8")


@dataclass
class Registry:
    """What it offers; a test adds packages while it runs, and reads what was asked for."""

    url: str = ""
    npm: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    files: dict[str, bytes] = field(default_factory=dict[str, bytes])
    wheels: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    asked: list[str] = field(default_factory=list[str])

    def add_npm(self, name: str, version: str, files: Mapping[str, str], **manifest: Any) -> None:
        """One version of a package; the last one that is added is the newest."""
        about = {"name": name, "version": version, **manifest}
        tarball = _make_tarball({"package.json": json.dumps(about), **files})
        digest = base64.b64encode(hashlib.sha512(tarball).digest()).decode()
        path = f"/tarballs/{name}-{version}.tgz"
        self.files[path] = tarball
        dist = {"tarball": f"{self.url}{path}", "integrity": f"sha512-{digest}"}
        has_script = bool({"preinstall", "install", "postinstall"} & set(manifest.get("scripts", {})))
        package = self.npm.setdefault(name, {"name": name, "dist-tags": {}, "versions": {}})
        package["versions"][version] = {**about, "dist": dist, **({"hasInstallScript": True} if has_script else {})}
        package["dist-tags"]["latest"] = version

    def add_wheel(
        self, name: str, version: str, files: Mapping[str, str], *, scripts: Mapping[str, str], python: str = ">=3.9"
    ) -> None:
        """One version of a package, with console scripts `{name: "module:function"}`."""
        wheel = _make_wheel(name, version, files, scripts, python)
        path = f"/wheels/{name.replace('-', '_')}-{version}-py3-none-any.whl"
        self.files[path] = wheel
        digest = hashlib.sha256(wheel).hexdigest()
        link = f'<a href="{self.url}{path}#sha256={digest}" data-requires-python="{html.escape(python)}">'
        self.wheels.setdefault(name, {})[version] = f"{link}{path.rpartition('/')[2]}</a>"

    def environ(self, folder: Path, path: str) -> dict[str, str]:
        """An environment whose npm, uv and pip know this registry alone, with caches below `folder`."""
        return {
            "PATH": path,
            "HOME": str(folder),
            "npm_config_registry": f"{self.url}/",
            "npm_config_cache": str(folder / "npm"),
            "UV_DEFAULT_INDEX": f"{self.url}/simple",
            "PIP_INDEX_URL": f"{self.url}/simple",
            "UV_CACHE_DIR": str(folder / "uv"),
        }

    def answer(self, path: str) -> tuple[str, bytes] | None:
        if path in self.files:
            return "application/octet-stream", self.files[path]
        if path.startswith("/simple/"):
            links = self.wheels.get(path.strip("/").rpartition("/")[2])
            return None if links is None else ("text/html", f"<html>{''.join(links.values())}</html>".encode())
        package = self.npm.get(unquote(path).strip("/"))
        return None if package is None else ("application/json", json.dumps(package).encode())


@contextmanager
def open_registry() -> Generator[Registry]:
    registry = Registry()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            registry.asked.append(self.path)
            found = registry.answer(self.path.partition("?")[0])
            kind, body = found if found is not None else ("application/json", b'{"error": "not found"}')
            self.send_response(404 if found is None else 200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing on stderr."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        registry.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield registry
        finally:
            server.shutdown()
            thread.join()


def _make_tarball(files: Mapping[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size, member.mode = len(text.encode()), 0o644
            tar.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


def _make_wheel(name: str, version: str, files: Mapping[str, str], scripts: Mapping[str, str], python: str) -> bytes:
    about = f"{name.replace('-', '_')}-{version}.dist-info"
    entries = "".join(f"{script} = {target}\n" for script, target in scripts.items())
    all_files = {
        **files,
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Python: {python}\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/entry_points.txt": f"[console_scripts]\n{entries}",
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        record = ""
        for path, text in all_files.items():
            archive.writestr(zipfile.ZipInfo(path), text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            record += f"{path},sha256={digest},{len(text.encode())}\n"
        archive.writestr(zipfile.ZipInfo(f"{about}/RECORD"), f"{record}{about}/RECORD,,\n")
    return buffer.getvalue()
