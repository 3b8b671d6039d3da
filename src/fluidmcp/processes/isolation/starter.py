"""The gateway's end of the starter: the small process that forks, confines and executes server processes.

What it starts are children of the gateway, which waits for them as for its own.
"""

import asyncio
import contextlib
import logging
import os
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Final

from fluidmcp.errors import ServerStartError
from fluidmcp.processes.starter_child import __main__ as program
from fluidmcp.processes.starter_child.order import (
    KEEP,
    START,
    Kept,
    Machine,
    Notice,
    Order,
    Report,
    decode_machine,
    decode_notice,
    decode_report,
    encode,
)

logger = logging.getLogger(__name__)

ANSWER_SECONDS: Final = 20.0
"""How long the starter may take to say what it can, and to report on one order."""
CLOSE_SECONDS: Final = 5.0
_PROGRAM: Final = os.path.abspath(program.__file__)
_MAX_MESSAGE_BYTES: Final = 64 * 1024


class Starter:
    """Starts the starter process, sends it orders, and starts another one when it dies.

    `on_notice` is called from the event loop with each process that goes over a limit, before it is ended.
    """

    def __init__(self, on_notice: Callable[[Notice], None]) -> None:
        self._on_notice = on_notice
        self._kept: dict[int, Kept] = {}
        self._control: socket.socket | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._machine: Machine | None = None
        self._starting = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        """The starter's process id; None while there is none."""
        return None if self._process is None else self._process.pid

    @property
    def machine(self) -> Machine:
        """What can be done here. Known once `start` has returned."""
        assert self._machine is not None
        return self._machine

    async def start(self) -> None:
        """Start the starter process, and learn what this machine can do.

        Raises:
            ServerStartError: the interpreter cannot be started once more, or says nothing.
        """
        async with self._starting:
            if self._control is None:
                await self._spawn()

    async def launch(self, order: Order, pipes: Sequence[int]) -> Report:
        """Start one server process with the child's ends of its stdin, stdout and stderr; they stay open here.

        Where the report has a `pid`, that process is a child of ours, also where it failed.

        Raises:
            ServerStartError: there is no starter, and none can be started.
        """
        await self.start()
        read_end, write_end = os.pipe()
        try:
            with contextlib.ExitStack() as always:
                always.callback(os.close, write_end)
                self._send(START, order, [*pipes, write_end])
            report = decode_report(await _read_to_end(read_end))
            if report == Report() and self._process is not None and self._process.returncode is None:
                # The starter is stuck, and must not carry the order out when nobody waits for it any more.
                self._process.kill()
                self._close_control()
            return report
        finally:
            os.close(read_end)

    def keep(self, kept: Kept) -> None:
        """A process runs: the next starter, should this one die, has to watch its limits."""
        self._kept[kept.pid] = kept

    def forget(self, pid: int) -> None:
        self._kept.pop(pid, None)

    async def close(self) -> None:
        """End the starter; what it started lives on."""
        self._close_control()
        process, self._process = self._process, None
        if process is None:
            return
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await process.wait()
        except TimeoutError:
            logger.warning("the starter did not end in time and is killed")
            process.kill()
            await process.wait()

    async def _spawn(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with contextlib.ExitStack() as unless_started:
            unless_started.callback(ours.close)
            with theirs:
                ours.setblocking(False)
                try:
                    self._process = await asyncio.create_subprocess_exec(
                        sys.executable,
                        "-I",
                        "-S",
                        _PROGRAM,
                        stdin=theirs.fileno(),
                        stdout=asyncio.subprocess.DEVNULL,
                        stderr=asyncio.subprocess.DEVNULL,
                        env={},
                        cwd="/",
                        start_new_session=True,
                    )
                except OSError as exc:
                    raise _no_starter("Starting another Python process failed.") from exc
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    answer = await asyncio.get_running_loop().sock_recv(ours, _MAX_MESSAGE_BYTES)
            except TimeoutError:
                answer = b""
            if not answer:
                self._process.kill()
                raise _no_starter("It ended, or said nothing.")
            unless_started.pop_all()
        self._machine = decode_machine(answer)
        self._control = ours
        asyncio.get_running_loop().add_reader(ours, self.read_notices)
        for kept in self._kept.values():
            self._send(KEEP, kept, [])

    def _send(self, kind: bytes, content: Order | Kept, descriptors: Sequence[int]) -> None:
        if self._control is None:
            return
        memory = os.memfd_create("order", os.MFD_CLOEXEC)
        try:
            os.write(memory, encode(content))
            socket.send_fds(self._control, [kind], [memory, *descriptors])
        except (BrokenPipeError, ConnectionResetError):
            self._close_control()
        except BlockingIOError:
            # Hundreds of orders unread: it is stopped or stuck.
            logger.warning("the starter does not read and is replaced")
            if self._process is not None:
                self._process.kill()
        finally:
            os.close(memory)

    def read_notices(self) -> None:
        """Hand on what the starter says, now and not when the event loop comes round to it."""
        while self._control is not None:
            try:
                message = self._control.recv(_MAX_MESSAGE_BYTES)
            except BlockingIOError:
                return
            except ConnectionResetError:
                message = b""
            if not message:
                logger.warning("the starter process died; the next start brings another one")
                self._close_control()
                return
            self._on_notice(decode_notice(message))

    def _close_control(self) -> None:
        if self._control is not None:
            asyncio.get_running_loop().remove_reader(self._control)
            self._control.close()
            self._control = None


async def _read_to_end(descriptor: int) -> bytes:
    """All that comes out of a pipe until its last writer closes it, or the time is over."""
    os.set_blocking(descriptor, False)
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[bytes] = loop.create_future()
    data = bytearray()

    def read() -> None:
        try:
            chunk = os.read(descriptor, _MAX_MESSAGE_BYTES)
        except BlockingIOError:
            return
        data.extend(chunk)
        if not chunk and not ended.done():
            ended.set_result(bytes(data))

    loop.add_reader(descriptor, read)
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await ended
    except TimeoutError:
        return bytes(data)
    finally:
        loop.remove_reader(descriptor)


def _no_starter(why: str) -> ServerStartError:
    return ServerStartError(
        "The starter, which starts server processes, could not be started.",
        why=why,
        hint="Look at `ulimit -u` and at the memory limit of the container.",
    )
