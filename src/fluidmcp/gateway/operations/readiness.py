"""`/ready?detail=1`: how far each package is, for whoever may know its name; why one fails, for the operator."""

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

from fluidmcp.errors import ForbiddenError, UnauthorizedError
from fluidmcp.gateway.composition import GatewayParts
from fluidmcp.gateway.page.access import PageAccess, Visitor
from fluidmcp.observability.printable import cut, make_printable

MAX_REASON_CHARACTERS: Final = 1000

PackageReadiness: TypeAlias = Literal["ready", "needs_login", "starting", "installing", "failing"]
"""`ready`: it answers, or its next call starts it. `needs_login`: nobody's server runs, and a login comes first."""


class Readiness:
    """What is told of the packages. It is no reason to send requests elsewhere: the status does not depend on it."""

    def __init__(self, parts: GatewayParts) -> None:
        self._parts = parts
        self._access = PageAccess(parts)

    async def describe(self, headers: Mapping[str, str]) -> Mapping[str, object]:
        """`packages`, by name: `state`, and the `reason` for the operator.

        Raises:
            UnauthorizedError, ForbiddenError, ProviderUnavailableError, StoreUnavailableError: who asks may not know
                which packages there are.
        """
        visitor = await self._access.admit(headers)
        if visitor.is_stranger:
            raise UnauthorizedError(
                "This gateway needs an access token.", hint="Send it as Authorization: Bearer <token>."
            )
        if not visitor.sees_names:
            raise ForbiddenError("Strangers are not told which packages there are.", hint="Add --oauth or --secure.")
        running = {slot.key.package for slot in self._parts.processes.pool.slots if slot.worker is not None}
        names = [entry.name for entry in self._parts.entries]
        return {"packages": {name: self._describe(name, visitor, is_running=name in running) for name in names}}

    def _describe(self, name: str, visitor: Visitor, *, is_running: bool) -> Mapping[str, object]:
        state = self._find_state(name, is_running=is_running)
        reason = self._find_reason(name, visitor) if state == "failing" and visitor.is_operator else ""
        return {"state": state, "reason": reason} if reason else {"state": state}

    def _find_state(self, name: str, *, is_running: bool) -> PackageReadiness:
        auth = self._parts.logins.auths[name]
        if auth is not None and auth.missing_variables:
            return "failing"
        state = self._parts.processes.servers[name].state
        if is_running:
            # That one person's server does not start is no news of the package, where another one's runs.
            return "ready"
        if state == "failed":
            return "failing"
        if state == "ok":
            return "ready" if auth is None else "needs_login"
        return state

    def _find_reason(self, name: str, visitor: Visitor) -> str:
        """What a server wrote about one person is for the holder of the operator's credential alone."""
        auth = self._parts.logins.auths[name]
        if auth is not None and auth.missing_variables:
            names = " and ".join(auth.missing_variables)
            return f"Its login cannot work before {names} is exported and the gateway restarted."
        failures = self._parts.processes.servers[name].failures
        last = failures[-1] if failures else None
        if last is None or (last.is_personal and not visitor.sees_people):
            return ""
        text = " ".join(part for part in (last.what, last.why, last.hint) if part)
        return cut(make_printable(text[: 2 * MAX_REASON_CHARACTERS]), MAX_REASON_CHARACTERS)
