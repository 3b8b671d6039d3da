"""Other gateways, each as its documentation starts it, and told to log as little as it can be told."""

import json
import shlex
from collections.abc import Callable
from typing import Final

from benchmarks.gateways import Gateway, Site, Start
from benchmarks.install import NODE_MODULES, install_npm_parts, install_python_part
from benchmarks.load import Speech, Style
from benchmarks.node import find_node
from benchmarks.workshop import CACHE

HOST: Final = "127.0.0.1"


def make_others() -> tuple[Gateway, ...]:
    return (
        _python("pypi-mcp-proxy", "mcp-proxy 0.13.0 (PyPI)", "mcp-proxy", _start_pypi_mcp_proxy),
        _python("fastmcp", "FastMCP 4.2.3 proxy", "fastmcp", _start_fastmcp),
        _npm("supergateway", "supergateway 4.0.0, stateful", _start_supergateway("--stateful"), "session"),
        _npm("supergateway-stateless", "supergateway 4.0.0, stateless", _start_supergateway(), "bare"),
        _npm("npm-mcp-proxy", "mcp-proxy 6.7.19 (npm)", _start_npm_mcp_proxy, "session"),
        _npm("mcp-hub", "mcp-hub 4.2.1 (REST)", _start_mcp_hub, "rest", path="/api/servers/tools"),
    )


def _python(name: str, title: str, part: str, start: Callable[[Site], Start]) -> Gateway:
    def install() -> None:
        install_python_part(part)

    def speak(site: Site) -> Speech:
        return Speech(style="session")

    return Gateway(name=name, title=title, prepare=start, speak=speak, install=install)


def _npm(name: str, title: str, start: Callable[[Site], Start], style: Style, *, path: str = "/mcp") -> Gateway:
    def speak(site: Site) -> Speech:
        return Speech(style=style, path=path)

    return Gateway(name=name, title=title, prepare=start, speak=speak, install=install_npm_parts)


def _start_pypi_mcp_proxy(site: Site) -> Start:
    program = str(CACHE / "mcp-proxy" / "bin" / "mcp-proxy")
    options = ("--host", HOST, "--port", str(site.port), "--log-level", "ERROR")
    return Start(command=(program, *options, "--", *site.server))


def _start_fastmcp(site: Site) -> Start:
    program = str(CACHE / "fastmcp" / "bin" / "fastmcp")
    options = ("--transport", "http", "--host", HOST, "--port", str(site.port), "--log-level", "ERROR", "--no-banner")
    return Start(command=(program, "run", _write_servers(site), *options))


def _start_supergateway(*options: str) -> Callable[[Site], Start]:
    def start(site: Site) -> Start:
        more = ("--outputTransport", "streamableHttp", "--port", str(site.port), "--logLevel", "none", *options)
        return Start(command=(*_node("supergateway/dist/index.js"), "--stdio", shlex.join(site.server), *more))

    return start


def _start_npm_mcp_proxy(site: Site) -> Start:
    options = ("--host", HOST, "--port", str(site.port), "--server", "stream")
    return Start(command=(*_node("mcp-proxy/dist/bin/mcp-proxy.mjs"), *options, "--", *site.server))


def _start_mcp_hub(site: Site) -> Start:
    return Start(command=(*_node("mcp-hub/dist/cli.js"), "--port", str(site.port), "--config", _write_servers(site)))


def _node(script: str) -> tuple[str, str]:
    return find_node(), str(NODE_MODULES / script)


def _write_servers(site: Site) -> str:
    """A file in the form that Claude Desktop and Cursor write."""
    path = site.folder / "servers.json"
    entry = {"command": site.server[0], "args": list(site.server[1:])}
    path.write_text(json.dumps({"mcpServers": {site.server_name: entry}}), encoding="utf-8")
    return str(path)
