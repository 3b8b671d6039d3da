"""Sockets, signals and the HTTP server around an ASGI application."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from fluidmcp.cli.serving.listening.port_holder import PortHolder, find_port_holder
from fluidmcp.cli.serving.listening.ports import open_sockets
from fluidmcp.cli.serving.serve import App, Stop, serve, stop_on_signals
from fluidmcp.config.settings import GatewaySettings
from fluidmcp.errors import ConfigurationError, PortInUseError
from tests.acceptance.harness import free_port
from tests.timing import limit_of_running_time


@contextlib.contextmanager
def opened(**changes: Any) -> Generator[list[socket.socket]]:
    sockets = open_sockets(GatewaySettings(**changes))
    try:
        yield sockets
    finally:
        for each in sockets:
            each.close()


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def answer(text: str) -> App:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": text.encode()})

    return app


@pytest.mark.promise(125)
def test_by_default_both_loopback_addresses_are_bound_and_no_other():
    port = free_port()
    with opened(port=port) as sockets:
        addresses = [each.getsockname()[:2] for each in sockets]
    assert addresses == [("127.0.0.1", port), ("::1", port)][: 2 if has_ipv6() else 1]


@pytest.mark.promise(26)
def test_the_alias_port_is_bound_on_loopback_as_well():
    port, alias = free_port(), free_port()
    with opened(port=port, alias_port=alias) as sockets:
        assert {each.getsockname()[1] for each in sockets} == {port, alias}


@pytest.mark.promise(26)
def test_a_busy_alias_port_is_one_line_of_warning(capsys: pytest.CaptureFixture[str]):
    port, alias = free_port(), free_port()
    with opened(port=alias), opened(port=port, alias_port=alias) as sockets:
        assert {each.getsockname()[1] for each in sockets} == {port}
    assert capsys.readouterr().err == f"Warning: port {alias} is busy; the gateway answers on port {port} only.\n"


def test_a_port_in_use_names_its_holder_and_leaves_nothing_bound():
    port = free_port()
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        with pytest.raises(PortInUseError) as caught:
            open_sockets(GatewaySettings(port=port))
        assert caught.value.what == f"Port {port} is in use."
        assert f"(process {os.getpid()})" in caught.value.why
    if has_ipv6():
        with socket.socket(socket.AF_INET6) as other:
            other.bind(("::1", port))
            other.listen()
            with pytest.raises(PortInUseError):
                open_sockets(GatewaySettings(port=port))
    with opened(port=port):
        pass  # the 127.0.0.1 half of the failed attempt is closed


def test_two_gateways_cannot_share_a_port():
    port = free_port()
    with opened(port=port), pytest.raises(PortInUseError):
        open_sockets(GatewaySettings(port=port))


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_that_is_not_ours_is_a_mistake_of_the_user(host: str):
    with pytest.raises(ConfigurationError, match=f"cannot listen on {host}"):
        open_sockets(GatewaySettings(host=host, port=free_port()))


def test_a_host_is_bound_alone():
    with opened(host="127.0.0.1", port=free_port()) as sockets:
        assert [each.getsockname()[0] for each in sockets] == ["127.0.0.1"]


def test_nobody_holds_a_free_port():
    assert find_port_holder(free_port()) is None


def test_a_gateway_that_hides_its_descriptors_is_named_as_the_probable_holder(tmp_path: Path):
    """What /proc looks like to another process of the user; made by hand, because root sees everything."""
    (tmp_path / "net").mkdir()
    line = "   0: 0100007F:1FA3 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4242 1 0 100"
    (tmp_path / "net" / "tcp").write_text(f"  sl  local_address rem_address   st\n{line}\n")
    for pid, command in ((10, "bash"), (11, "fluidmcp")):
        (tmp_path / str(pid) / "fd").mkdir(parents=True)
        (tmp_path / str(pid) / "comm").write_text(f"{command}\n")
    assert find_port_holder(8099, proc=tmp_path) is None
    (tmp_path / "10" / "fd" / "3").symlink_to("socket:[4242]")
    assert find_port_holder(8099, proc=tmp_path) == PortHolder(pid=10, command="bash")


def test_a_hidden_process_is_not_dumpable():
    hide = "from fluidmcp.cli.serving.serve import hide_memory; hide_memory()"
    code = f"import ctypes; {hide}; print(ctypes.CDLL(None).prctl(3))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "0"  # PR_GET_DUMPABLE


async def test_two_applications_are_served_in_one_loop_and_end_together():
    ports = [free_port(), free_port()]
    stop = Stop()
    closed: list[str] = []

    async def close(name: str) -> None:
        closed.append(name)

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for name, port in zip("ab", ports, strict=True):
            sockets = open_sockets(GatewaySettings(port=port))
            group.create_task(serve(answer(name), sockets, stop=stop, on_shutdown=lambda name=name: close(name)))
        async with httpx2.AsyncClient(trust_env=False, timeout=60) as client:
            answers = [(await client.get(f"http://127.0.0.1:{port}/")).text for port in ports]
        stop.request()
    assert answers == ["a", "b"]
    assert sorted(closed) == ["a", "b"]
    with opened(port=ports[0]), opened(port=ports[1]):
        pass


async def test_the_answer_does_not_tell_what_serves_it_and_believes_no_proxy():
    clients: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        clients.append(scope["client"][0])
        await answer("x")(scope, receive, send)

    stop, port = Stop(), free_port()
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(serve(app, open_sockets(GatewaySettings(port=port)), stop=stop))
        async with httpx2.AsyncClient(trust_env=False, timeout=60) as client:
            reply = await client.get(f"http://127.0.0.1:{port}/", headers={"X-Forwarded-For": "203.0.113.9"})
        stop.request()
    assert "server" not in reply.headers
    assert clients == ["127.0.0.1"]


async def test_a_stream_without_an_end_is_ended_by_the_shutdown_and_a_second_request_does_not_wait():
    streaming, ended = asyncio.Event(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        streaming.set()
        await ended.wait()
        await send({"type": "http.response.body", "body": b"last"})

    async def close() -> None:
        ended.set()

    stop, port = Stop(), free_port()
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        sockets = open_sockets(GatewaySettings(port=port))
        serving = group.create_task(serve(app, sockets, stop=stop, on_shutdown=close))
        async with httpx2.AsyncClient(trust_env=False, timeout=60) as client:
            asking = group.create_task(client.get(f"http://127.0.0.1:{port}/"))
            await streaming.wait()
            stop.request()
            stop.request()
            # Requests in flight would have three seconds.
            async with limit_of_running_time(2):
                await serving
            assert (await asking).text == "firstlast"


@pytest.fixture
def heeded() -> Generator[None]:
    """Signals that whoever started the tests ignores, as nohup does, have their default effect."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0), (signal.SIGHUP, 0)], ids=lambda value: str(value)
)
async def test_a_signal_requests_the_end_and_decides_the_exit_code(heeded: None, number: signal.Signals, code: int):
    with stop_on_signals() as stop:
        os.kill(os.getpid(), number)
        async with asyncio.timeout(60):
            await stop.requested.wait()
        assert stop.exit_code == code
