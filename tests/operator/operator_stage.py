"""A stage for the operator's own token: a real file, a provider that answers as told, and a clock of the test."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from starlette.responses import JSONResponse

from fluidmcp.config.oauth import OAuthSettings
from fluidmcp.config.secret import Secret
from fluidmcp.oauth_client.fetch import Fetcher
from fluidmcp.operator.operator_token import OperatorToken
from fluidmcp.operator.token_file import StoredLogin, TokenFile
from tests.providers.fault_making import FaultMakingProvider, token_document
from tests.providers.serving import serve

START = 1_800_000_000.0
HOUR = 3600.0
DAY = 86_400.0


@dataclass
class Stage:
    """An operator with a login that came at START and lives an hour, a clock that the test sets, and a provider."""

    provider: FaultMakingProvider
    token_url: str
    home: Path
    fetcher: Fetcher
    time: float = START
    naps: asyncio.Queue[float] = field(default_factory=lambda: asyncio.Queue[float]())
    """How long `keep_fresh` wanted to sleep; each nap ends when the test sets `woken`."""
    woken: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def file(self) -> TokenFile:
        return TokenFile(self.home)

    def settings(self, **changes: Any) -> OAuthSettings:
        base = OAuthSettings(auth_endpoint="https://a.example/", token_endpoint=self.token_url, client_id="cli")
        return replace(base, **changes)

    def operator(self, **changes: Any) -> OperatorToken:
        return OperatorToken(
            self.settings(**changes), token_file=self.file, fetcher=self.fetcher, now=lambda: self.time, sleep=self._nap
        )

    def log_in(self, **changes: Any) -> StoredLogin:
        login = StoredLogin(
            access_token=Secret("at-old"),
            refresh_token=Secret("rt-old"),
            expires_at=START + HOUR,
            obtained_at=START,
            token_endpoint=self.token_url,
            client_id="cli",
            subject="alice",
        )
        login = replace(login, **changes)
        self.file.save(login)
        return login

    def stored(self) -> StoredLogin:
        login = self.file.load()
        assert login is not None
        return login

    def answer(self, **changes: Any) -> None:
        self.provider.answer_token = lambda _form: JSONResponse(token_document(**changes))

    def fail(self, status: int, error: str = "") -> None:
        self.provider.answer_token = lambda _form: JSONResponse({"error": error}, status_code=status)

    @property
    def requests(self) -> int:
        return len(self.provider.token_requests)

    async def _nap(self, seconds: float) -> None:
        self.naps.put_nowait(seconds)
        await self.woken.wait()
        self.woken.clear()

    async def next_nap(self) -> float:
        async with asyncio.timeout(60):
            return await self.naps.get()


@asynccontextmanager
async def operator_stage(home: Path) -> AsyncGenerator[Stage]:
    provider = FaultMakingProvider()
    fetcher = Fetcher(total_timeout_seconds=60)
    async with serve(provider.app) as url:
        yield Stage(provider=provider, token_url=f"{url}/token", home=home, fetcher=fetcher)
    await fetcher.aclose()
