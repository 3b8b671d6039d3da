"""A gateway that is not reached by `http://localhost:PORT`: over TLS, at a Unix socket, or at one that it is given."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from tests.acceptance.harness import Output, RunningGateway, spawn


@asynccontextmanager
async def start_listening(
    *args: str,
    url: str = "",
    port: int = 0,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    before: Sequence[str] = (),
    says: str = " ready",
) -> AsyncGenerator[RunningGateway]:
    """`fluidmcp run ARGS --start-server`, from when it has written `says` to stdout on."""
    process = await spawn("run", *args, "--start-server", env=env, cwd=cwd, before=before)
    assert process.stdout is not None
    assert process.stderr is not None
    gateway = RunningGateway(url, port, process, Output(process.stdout), Output(process.stderr))
    try:
        if says:
            try:
                await gateway.stdout.wait_for(says)
            except AssertionError as error:
                raise AssertionError(f"{error}\n{gateway.stderr.text}") from None
        yield gateway
    finally:
        await gateway.stop()
