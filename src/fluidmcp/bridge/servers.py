"""The server processes of one package: who may share one, and how one is started.

Nobody is known (no `auth`, no guard): callers without a session share one process that was told of no capabilities;
a session has a process to itself. Somebody is known: a process per token, and per session where there is one, unless
the entry says `"shared": true`: then callers without a session share one as if nobody were known.
"""

import re
from collections.abc import Mapping
from typing import Final

from fluidmcp.auth.principal import Principal
from fluidmcp.bridge.channel import Channel
from fluidmcp.bridge.handshake import GATEWAY_INITIALIZE_PARAMS, start_channel
from fluidmcp.config.entries import ServerEntry
from fluidmcp.config.secret import Secret
from fluidmcp.config.settings import ProcessLimits
from fluidmcp.processes.environment import build_environment
from fluidmcp.processes.pool import Lease, Pool, WorkerKey
from fluidmcp.processes.process import Launcher, LaunchSpec
from fluidmcp.protocol.jsonrpc import Json
from fluidmcp.protocol.meta import without_interactive_capabilities

MIN_SECRET_LENGTH: Final = 6
"""Shorter values are left alone: redacting "1" or "true" would make every line unreadable."""

_SOUNDS_SECRET: Final = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|AUTH", re.IGNORECASE)


class PackageServers:
    """Hands out channels to the processes of one package."""

    def __init__(
        self,
        entry: ServerEntry,
        environ: Mapping[str, str],
        *,
        pool: Pool[Channel],
        launcher: Launcher,
        limits: ProcessLimits,
    ) -> None:
        self._entry = entry
        self._environ = environ
        self._pool = pool
        self._launcher = launcher
        self._limits = limits

    def is_shared(self, principal: Principal | None) -> bool:
        """Whether callers without a session meet other people's requests in their process."""
        return principal is None or (self._entry.shared and self._entry.auth is None)

    def build_key(self, principal: Principal | None, session_id: str | None = None) -> WorkerKey:
        digest = None if principal is None or self.is_shared(principal) else principal.token_digest
        return WorkerKey(package=self._entry.name, token_digest=digest, session_id=session_id)

    async def acquire(
        self,
        principal: Principal | None,
        token: str | None,
        *,
        session_id: str | None = None,
        initialize_params: Json | None = None,
    ) -> Lease[Channel]:
        """A running server process for this caller, started if there is none.

        `initialize_params` is what the session's client said; callers without a session have none.

        Raises:
            ServerStartError, ServerTimeoutError: it did not start.
            ServerBackingOffError, CapacityError: it may not be started now.
        """
        key = self.build_key(principal, session_id)
        lease = self._pool.acquire_ready(key)
        if lease is not None:
            return lease

        async def start() -> Channel:
            return await start_channel(
                self._launcher,
                self._build_spec(principal, token),
                self._limits,
                initialize_params=(
                    GATEWAY_INITIALIZE_PARAMS
                    if initialize_params is None
                    else without_interactive_capabilities(initialize_params)
                ),
                is_exclusive=session_id is not None,
            )

        is_personal = not self.is_shared(principal)
        # A process that others use neither counts as this caller's nor ends with this caller's token.
        return await self._pool.acquire(
            key,
            start,
            principal=principal.owner if principal is not None and (is_personal or session_id is not None) else None,
            expires_at=principal.expires_at if principal is not None and is_personal else None,
        )

    def acquire_ready(self, principal: Principal | None, session_id: str) -> Lease[Channel] | None:
        """The running process of a session, or None; starts nothing."""
        return self._pool.acquire_ready(self.build_key(principal, session_id))

    def retire(self, key: WorkerKey) -> None:
        """Let a process finish its calls and end."""
        self._pool.retire(key)

    def _build_spec(self, principal: Principal | None, token: str | None) -> LaunchSpec:
        is_personal = not self.is_shared(principal)
        entry = self._entry
        handed_token = token if is_personal and entry.auth is not None else None
        environment = build_environment(entry, self._environ, token=handed_token, person_known=is_personal)
        return LaunchSpec(
            package=entry.name,
            command=entry.command,
            args=entry.args,
            environment=environment,
            directory=entry.directory,
            private_home=is_personal,
            secrets=self._list_secrets(environment, handed_token),
        )

    def _list_secrets(self, environment: Mapping[str, str], token: str | None) -> tuple[Secret, ...]:
        """What must not show in the process's stderr: the token, and variables of the entry that sound like keys."""
        named = [environment.get(name, "") for name, _ in self._entry.env if _SOUNDS_SECRET.search(name)]
        values = {value for value in (token or "", *named) if len(value) >= MIN_SECRET_LENGTH}
        return tuple(Secret(value) for value in values)

    async def discard(self, key: WorkerKey) -> None:
        """Stop a process now; its calls fail."""
        await self._pool.discard(key)
