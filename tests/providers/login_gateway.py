"""Packages with their logins behind the login router, and browsers that use it: what the login tests share."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx2
from fastapi import FastAPI

from fluidmcp.config.entries import AuthBlock, ServerEntry
from fluidmcp.config.settings import LoginLimits
from fluidmcp.crypto.sealing import Sealer
from fluidmcp.gateway.login.authorization_endpoint import AuthorizationEndpoint
from fluidmcp.gateway.login.package_login import build_login_router
from fluidmcp.guards.package_guard import PackageGuard
from fluidmcp.oauth_client.fetch import Fetcher
from fluidmcp.oauth_client.services import LoginServices
from fluidmcp.store.deny_list import DenyList, MemoryPlace
from fluidmcp.store.memory import MemoryStore
from tests.providers.oidc import CLIENT_ID, CLIENT_SECRET, PUBLIC_URL

LIMITS = LoginLimits()
ENVIRON: Mapping[str, str] = {"MAIL_CLIENT_ID": CLIENT_ID, "MAIL_CLIENT_SECRET": CLIENT_SECRET}


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.time = 1_800_000_000.0

    def __call__(self) -> float:
        return self.time


class LoginGateway:
    """An app with the login routes of some packages, and `none`, a package without auth block."""

    def __init__(
        self,
        blocks: Mapping[str, AuthBlock],
        *,
        fetcher: Fetcher,
        environ: Mapping[str, str] = ENVIRON,
        public_url: str = PUBLIC_URL,
        is_anything_guarded: bool = True,
        limits: LoginLimits = LIMITS,
        digest_key: bytes = b"k" * 32,
        clock: Clock | None = None,
    ) -> None:
        self.clock = clock or Clock()
        self.public_url = public_url
        self.pending_auth_states = MemoryStore(max_entries=limits.max_waiting, now=self.clock)
        self.handed_out = MemoryStore(max_entries=1000, now=self.clock)
        services = LoginServices(
            public_url=public_url,
            digest_key=digest_key,
            sealer=Sealer(()),
            pending_auth_states=self.pending_auth_states,
            handed_out=self.handed_out,
            grants=MemoryStore(max_entries=1),
            codes=MemoryStore(max_entries=1),
            deny_list=DenyList(MemoryPlace()),
            fetcher=fetcher,
            limits=limits,
            now=self.clock,
        )
        guards = {
            name: PackageGuard(ServerEntry(name=name, command="x", auth=block), environ, services)
            for name, block in blocks.items()
        }
        self.auths = {name: guard.only for name, guard in guards.items() if guard.only is not None}
        self.app = FastAPI(redirect_slashes=False)
        self.app.include_router(
            build_login_router(
                {**guards, "none": None},
                public_url=public_url,
                is_anything_guarded=is_anything_guarded,
                client_logins=AuthorizationEndpoint({}, public_url=public_url, gateway_login=None, scope_texts={}),
            )
        )

    def browser(self, *, address: str = "127.0.0.1") -> httpx2.AsyncClient:
        """A browser with a cookie jar of its own; it follows no redirect by itself."""
        return httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=self.app, client=(address, 40000)), base_url=self.public_url
        )


def contents_of(store: MemoryStore) -> dict[str, object]:
    """Everything that a store holds, for tests that look for what must not be there."""
    own = ((name, value) for name, value in vars(store).items() if name not in ("_now", "change_count", "_locks"))
    tables = [cast(dict[str, object], vars(table)) for _, table in own]
    return {f"{number} {name}": value for number, table in enumerate(tables) for name, value in table.items()}


@asynccontextmanager
async def login_gateway(blocks: Mapping[str, AuthBlock], **options: Any) -> AsyncGenerator[LoginGateway]:
    fetcher = Fetcher()
    try:
        yield LoginGateway(blocks, fetcher=fetcher, **options)
    finally:
        await fetcher.aclose()


def auth_block(address: str, **changes: Any) -> AuthBlock:
    """The auth block of a package whose provider is the fault-making one at this address."""
    values: dict[str, Any] = {
        "authorization_url": f"{address}/authorize",
        "token_url": f"{address}/token",
        "env_var_name": "MAIL_ACCESS_TOKEN",
        "scopes": ("mail.read",),
        "client_id_env": "MAIL_CLIENT_ID",
        "client_secret_env": "MAIL_CLIENT_SECRET",
        **changes,
    }
    return AuthBlock(**values)
