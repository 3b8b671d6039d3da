"""The token endpoint (RFC 6749 sections 4.1.3 and 6) and the revocation endpoint (RFC 7009) of one package.

Refresh tokens rotate. If several requests bring one refresh token, one renews, at the provider too, and all get its
answer, also where several gateways share a store: a grant is renewed under a lock. Whoever brings a replaced token
after more than ten seconds ends the grant for everybody who has it.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import msgspec

from fluidmcp.authorization_server.authorize import check_resources
from fluidmcp.authorization_server.clients import ClientDirectory
from fluidmcp.authorization_server.codes import CODE_SECONDS, AuthorizationCodes, CodeReplayedError
from fluidmcp.authorization_server.grant import Grants, Upstream, UpstreamGrant, UpstreamName
from fluidmcp.authorization_server.grant_states import GrantStates
from fluidmcp.authorization_server.sealed_tokens import (
    GRANT_ID_BYTES,
    IssuedTokens,
    SealedRefresh,
    TokenSealer,
    client_digest,
)
from fluidmcp.config.logins.read import MAX_LOGINS
from fluidmcp.errors import (
    FluidMCPError,
    ForbiddenError,
    OAuthError,
    ProviderAnswerError,
    ProviderUnavailableError,
    StoreUnavailableError,
    UnauthorizedError,
)
from fluidmcp.store.deny_list import DenyList
from fluidmcp.store.memory import Fence, LockLostError, StoreFullError

GRANT_SECONDS: Final = 30 * 24 * 3600
"""How long a grant can be renewed; then the person logs in again."""
MAX_LOGINS_OF_GRANT: Final = MAX_LOGINS + 1
"""Those of a package, and that of the gateway."""
PARTIAL_SECONDS: Final = 600
"""How long a renewal may stay half done, where one of two providers could not answer."""

logger = logging.getLogger(__name__)


class _KeptAnswer(msgspec.Struct, frozen=True, array_like=True):
    access_token: str
    refresh_token: str | None
    expires_in: int
    scopes: tuple[str, ...]

    def __repr__(self) -> str:
        return f"_KeptAnswer(expires_in={self.expires_in})"


class _Renewed(msgspec.Struct, frozen=True, array_like=True):
    """What a renewal has got so far."""

    gateway: UpstreamGrant | None
    package: dict[str, UpstreamGrant]


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstreams:
    """Where people log in on their way to a package, in the order of their logins; at least one."""

    gateway: Upstream | None = None
    package: Mapping[str, Upstream] = field(default_factory=dict[str, Upstream])
    """By the names of the package's logins."""

    @property
    def each(self) -> tuple[Upstream, ...]:
        return tuple(upstream for _, upstream in self._list())

    def find(self, name: UpstreamName) -> Upstream | None:
        return self.gateway if name is None else self.package.get(name)

    def find_next(self, done: Grants) -> "tuple[UpstreamName, Upstream] | None":
        """The first login that is not done yet; None: all are."""
        return next(((name, upstream) for name, upstream in self._list() if not _holds(done, name)), None)

    def are_done(self, done: Grants) -> bool:
        """Whether these are exactly the logins that today's settings ask for."""
        names = {name for name, _ in self._list()}
        return names == {*([None] if done.gateway is not None else []), *done.package}

    def _list(self) -> "Iterator[tuple[UpstreamName, Upstream]]":
        if self.gateway is not None:
            yield None, self.gateway
        yield from self.package.items()


def _holds(done: Grants, name: UpstreamName) -> bool:
    return done.gateway is not None if name is None else name in done.package


class TokenEndpoint:
    """Redeems codes, renews and revokes grants."""

    def __init__(
        self,
        *,
        tokens: TokenSealer,
        codes: AuthorizationCodes,
        states: GrantStates,
        upstreams: Upstreams,
        directory: ClientDirectory,
        resources: frozenset[str],
        package: str,
        deny_list: DenyList,
        now: Callable[[], float],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._random_bytes = random_bytes
        self._tokens = tokens
        self._codes = codes
        self._states = states
        self._upstreams = upstreams
        self._directory = directory
        self._resources = resources
        self._package = package
        self._deny_list = deny_list
        self._now = now
        self._renewals: dict[str, asyncio.Task[IssuedTokens]] = {}

    async def answer(self, form: Mapping[str, str], *, resources: tuple[str, ...] = ()) -> IssuedTokens:
        """Tokens for a code or a refresh token. `resources` are the values of `resource`, which may come repeatedly.

        Raises:
            OAuthError: the request is refused.
        """
        client_id = form.get("client_id", "")
        if not client_id:
            raise OAuthError("invalid_client", "client_id is missing.", hint="Send it in the form.")
        if self._directory.is_denied(client_id):
            raise OAuthError("invalid_client", "This client is not let in here.", status=401)
        match form.get("grant_type"):
            case "authorization_code":
                check_resources(resources, self._resources)
                return await self._redeem(form, client_id)
            case "refresh_token":
                check_resources(resources, self._resources)
                return await self.refresh(
                    form.get("refresh_token", ""), client_id=client_id, scope=form.get("scope", "")
                )
            case None | "":
                raise OAuthError("invalid_request", "grant_type is missing.")
            case _:
                raise OAuthError("unsupported_grant_type", "Only authorization_code and refresh_token are supported.")

    async def revoke(self, form: Mapping[str, str]) -> None:
        """End the grant of a token; a token that is none of ours is no error (RFC 7009 section 2.2).

        Raises:
            OAuthError: there is no token in the request.
        """
        token, client_id = form.get("token", ""), form.get("client_id", "")
        if not token:
            raise OAuthError("invalid_request", "token is missing.")
        refresh = self._tokens.open_refresh(token, client_id=client_id)
        if refresh is not None:
            await self._end_for_good(refresh.grant_id)
            await self.give_back(refresh.grants)
            return
        access = self._tokens.open_access(token)
        if access is None or (client_id and client_digest(client_id) != access.client):
            return
        await self._end_for_good(access.grant_id)
        held = {one.name: UpstreamGrant(one.person, one.access_token) for one in access.package if one.access_token}
        await self.give_back(Grants(None, held))

    async def _redeem(self, form: Mapping[str, str], client_id: str) -> IssuedTokens:
        try:
            grant = await self._codes.redeem(
                form.get("code", ""),
                client_id=client_id,
                redirect_uri=form.get("redirect_uri"),
                code_verifier=form.get("code_verifier", ""),
            )
        except CodeReplayedError as replay:
            await self._end_for_good(replay.grant_id)
            raise OAuthError("invalid_grant", "The authorization code was used before.", hint="Log in again.") from None
        begun_at = grant.expires_at - CODE_SECONDS
        try:
            await self.check_denied(grant.grants, begun_at=begun_at)
        except FluidMCPError as error:
            # The code is used up: nobody will hold these tokens.
            await self.give_back(grant.grants)
            if isinstance(error, StoreUnavailableError):
                raise
            raise OAuthError("invalid_grant", f"{error.what}.", why=error.why, hint=error.hint) from error
        return self.issue(
            grant.grants, client_id=client_id, scopes=grant.scopes, grant_id=grant.grant_id, begun_at=begun_at
        )

    def issue(
        self,
        grants: Grants,
        *,
        client_id: str,
        scopes: tuple[str, ...],
        grant_id: bytes | None = None,
        begun_at: float | None = None,
    ) -> IssuedTokens:
        """The first tokens of a login, which ended at `begun_at` or just now. Raises as `TokenSealer.issue`."""
        return self._tokens.issue(
            grants,
            client_id=client_id,
            grant_id=grant_id or self._random_bytes(GRANT_ID_BYTES),
            generation=0,
            begun_at=self._now() if begun_at is None else begun_at,
            ends_at=int(self._now()) + GRANT_SECONDS,
            scopes=scopes,
        )

    async def refresh(self, token: str, *, client_id: str, scope: str = "") -> IssuedTokens:
        """New tokens for a refresh token of this client; a `scope` can only be one that it has. Raises OAuthError."""
        opened = self._tokens.open_refresh(token, client_id=client_id)
        if opened is None:
            raise _refused("It is unknown, over, of another client, or of other settings than today's.")
        if not set(scope.split()) <= {*opened.scopes}:
            raise OAuthError("invalid_scope", "A refresh cannot ask for more than the login did.")
        # One task for all who ask: a client that gives up must not stop a renewal that the provider has begun.
        task = self._renewals.get(token)
        if task is None:
            task = self._renewals[token] = asyncio.create_task(self._renew(opened, token, client_id))
            task.add_done_callback(lambda done: self._forget_renewal(token, done))
        await asyncio.wait({task})
        return task.result()

    def _forget_renewal(self, token: str, task: "asyncio.Task[IssuedTokens]") -> None:
        del self._renewals[token]
        if not task.cancelled():
            # All who asked may be gone by now; a failure counts as seen.
            task.exception()

    async def check_denied(self, grants: Grants, *, begun_at: float | None = None) -> None:
        """Whether nobody whose logins these are is shut out. Raises as `DenyList.check`."""
        people = [(grant.person.issuer, grant.person.subject) for grant in grants.each]
        await self._deny_list.check(self._package, people, begun_at=begun_at)

    async def _renew(self, opened: SealedRefresh, token: str, client_id: str) -> IssuedTokens:
        try:
            async with self._states.lock(opened.grant_id, logins=len(opened.grants.each) or 1) as fence:
                return await self._renew_alone(opened, token, client_id, fence)
        except StoreFullError as error:
            raise OAuthError(
                "temporarily_unavailable", "The grant cannot be renewed now.", status=503, hint="Try again later."
            ) from error

    async def _renew_alone(self, opened: SealedRefresh, token: str, client_id: str, fence: Fence) -> IssuedTokens:
        if await self._states.is_revoked(opened.grant_id):
            raise _refused("It was revoked.")
        newest = await self._states.find_generation(opened.grant_id)
        if newest is not None and opened.generation < newest:
            kept = await self._find_kept(token)
            if kept is not None:
                return kept
            # OAuth 2.1 section 4.3.1: the client or a thief has the newer one, and nobody can tell which of them asks.
            logger.warning("a refresh token that was replaced came again; its grant is revoked")
            await self._end(opened.grant_id)
            raise _refused("It was replaced by a newer one.")
        try:
            await self.check_denied(opened.grants, begun_at=opened.begun_at)
        except (ForbiddenError, UnauthorizedError) as error:
            await self._end(opened.grant_id)
            await self.give_back(opened.grants)
            raise _refused(error.why) from error
        try:
            grants = await self._renew_grants(opened, token, fence)
        except (ForbiddenError, ProviderAnswerError) as error:
            if isinstance(error, ProviderAnswerError) and error.provider_error != "invalid_grant":
                raise OAuthError("server_error", error.what, status=502, why=error.why, hint=error.hint) from error
            await self._end(opened.grant_id)
            raise _refused("The provider has ended the login, or the account is not allowed any more.") from error
        except ProviderUnavailableError as error:
            raise OAuthError("temporarily_unavailable", error.what, status=503, why=error.why) from error
        return await self._issue_next(opened, grants, token, client_id, fence)

    async def _find_kept(self, token: str) -> IssuedTokens | None:
        """The answer that this refresh token got a moment ago."""
        kept = await self._states.find_answer(token)
        if kept is None:
            return None
        answer = msgspec.msgpack.decode(kept, type=_KeptAnswer)
        return IssuedTokens(
            access_token=answer.access_token,
            refresh_token=answer.refresh_token,
            expires_in=answer.expires_in,
            scopes=answer.scopes,
        )

    async def _issue_next(
        self, opened: SealedRefresh, grants: Grants, token: str, client_id: str, fence: Fence
    ) -> IssuedTokens:
        issued = self._tokens.issue(
            grants,
            client_id=client_id,
            grant_id=opened.grant_id,
            generation=opened.generation + 1,
            begun_at=opened.begun_at,
            ends_at=opened.ends_at,
            scopes=opened.scopes,
        )
        kept = _KeptAnswer(issued.access_token, issued.refresh_token, issued.expires_in, issued.scopes)
        try:
            if await self._states.is_revoked(opened.grant_id):
                raise _refused("It was revoked.")
            await self._states.keep_answer(token, msgspec.msgpack.encode(kept), fence=fence)
            await self._states.advance(opened.grant_id, opened.generation + 1, ends_at=opened.ends_at, fence=fence)
        except (StoreFullError, StoreUnavailableError):
            # The provider has given new tokens: not to hand them out would end the login of this person.
            logger.warning("the store of grants takes nothing; the replay of a refresh token would not be noticed")
        except LockLostError:
            logger.warning("a renewal took longer than its lock; another gateway may have renewed as well")
            # Neither must be lost: what the provider has given us is good.
            with suppress(StoreUnavailableError):
                return await self._find_kept(token) or issued
        return issued

    async def _renew_grants(self, opened: SealedRefresh, token: str, fence: Fence) -> Grants:
        """All providers' new tokens. What the first ones gave is kept while a later one cannot answer."""
        half_done = f"half done {token}"
        kept = await self._states.find_answer(half_done) if len(opened.grants.each) > 1 else None
        done = _Renewed(None, {}) if kept is None else msgspec.msgpack.decode(kept, type=_Renewed)
        gateway, package = done.gateway, dict(done.package)
        try:
            if opened.gateway is not None and gateway is None:
                gateway = await self._renew_one(None, opened.gateway)
            for name, grant in opened.package.items():
                if name not in package:
                    package[name] = await self._renew_one(name, grant)
        except (ProviderUnavailableError, ProviderAnswerError):
            if gateway is not None or package:
                encoded = msgspec.msgpack.encode(_Renewed(gateway, package))
                await self._keep_half_done(half_done, encoded, fence)
            raise
        if len(opened.grants.each) > 1:
            # It ends by itself; the providers have given new tokens, and not to hand them out would end the login.
            with suppress(StoreUnavailableError):
                await self._states.drop_answer(half_done)
        return Grants(gateway, package)

    async def _keep_half_done(self, name: str, encoded: bytes, fence: Fence) -> None:
        try:
            await self._states.keep_answer(name, encoded, seconds=PARTIAL_SECONDS, fence=fence)
        except (LockLostError, StoreUnavailableError):
            # What the provider's failure means is told all the same; the next try begins from the start.
            logger.warning("half of a renewal could not be kept")

    async def _renew_one(self, name: UpstreamName, grant: UpstreamGrant) -> UpstreamGrant:
        upstream = self._upstreams.find(name)
        # A token opens only where the logins are those that it was sealed for.
        return grant if upstream is None else await upstream.renew(grant)

    async def _end_for_good(self, grant_id: bytes) -> None:
        """End a grant that may be renewed at this moment: at once, and again when nobody can write over it."""
        await self._end(grant_id)
        try:
            # How many logins it has is not known everywhere: as long as a renewal of the most may take.
            async with self._states.lock(grant_id, logins=MAX_LOGINS_OF_GRANT):
                await self._end(grant_id)
        except StoreFullError as error:
            raise _cannot_revoke() from error

    async def _end(self, grant_id: bytes) -> None:
        try:
            await self._states.revoke(grant_id, ends_at=self._now() + GRANT_SECONDS)
        except StoreFullError as error:
            raise _cannot_revoke() from error

    async def give_back(self, grants: Grants) -> None:
        """Revoke the tokens at their providers, where these take them back."""
        for name, grant in ((None, grants.gateway), *grants.package.items()):
            upstream = self._upstreams.find(name)
            if upstream is not None and grant is not None:
                await upstream.give_back(grant)


def _refused(why: str) -> OAuthError:
    return OAuthError("invalid_grant", "The refresh token is not good.", why=why, hint="Log in again.")


def _cannot_revoke() -> OAuthError:
    return OAuthError(
        "temporarily_unavailable", "The grant cannot be revoked now.", status=503, hint="Try again later."
    )
