"""A login of a package whose people type their keys: on our own page, or in headers of each request.

Keys are kept nowhere here: what is typed goes, sealed, to whoever asked for the login. A digest of keys that were found
good is remembered for a minute, so that the API is not asked at each request that brings them in headers.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import msgspec

from fluidmcp.authentication.person import Held, HeldLogin, Person
from fluidmcp.authentication.principal import Principal
from fluidmcp.authentication.verifiers.cached import CachedVerifier, CallBudget, TokenRefusedError
from fluidmcp.authorization_server.grant import UpstreamGrant
from fluidmcp.config.entries import ServerEntry
from fluidmcp.config.filling.templates import LINE_BREAKERS, Credentials, FillError
from fluidmcp.config.logins.keys import MAX_KEYS_BYTES, MAX_PATTERN_VALUE_CHARACTERS, KeysBlock, PersonKey
from fluidmcp.config.logins.read import list_logins
from fluidmcp.config.urls import split_public_url
from fluidmcp.crypto.digest import PackageDigest, fingerprint
from fluidmcp.errors import LoginError, ProviderAnswerError, ProviderUnavailableError, UnauthorizedError
from fluidmcp.oauth_client.pending_login import LoginStart
from fluidmcp.oauth_client.services import LoginServices
from fluidmcp.oauth_client.waiting_logins import LoginKind, TakenLogin, WaitingLogins, asks_too_often, cookie_name

MAX_TRIES_PER_MINUTE: Final = 30
"""Keys that one address may try on the page in a minute, per package."""
REFUSED_STATUSES: Final = (400, 401, 403, 422)
"""What an API answers to keys that are not good. Anything else, such as a 404, says that something else is wrong, and
ends nobody's login."""
KEYS_ISSUER: Final = "keys"
"""The issuer of people who typed keys: nobody vouches for who they are."""

_KEYS = msgspec.json.Encoder(order="deterministic")


@dataclass(frozen=True, slots=True)
class _Names:
    """What a login of keys is, for the fingerprint: a new title or check logs nobody out."""

    login: str
    names: tuple[str, ...]


class KeysRefusedError(Exception):
    """What was typed is not good; `faults` says why, by the name of the key, or under "" for all of them.

    No fault repeats what was typed.
    """

    def __init__(self, faults: Mapping[str, str]) -> None:
        super().__init__("keys are refused")
        self.faults = faults


class KeysLogin:
    """As `Upstream`: a login of a package by keys."""

    sign_in_host = ""
    """Our own page."""

    def __init__(self, entry: ServerEntry, services: LoginServices, *, login: str = "") -> None:
        """`login` is its name, where the package has several. Raises ValueError: there is no such auth block."""
        block = dict(list_logins(entry.auth)).get(login)
        if not isinstance(block, KeysBlock):
            raise ValueError("the entry has no such auth block")
        self.package = entry.name
        self.login = login
        self.keys = block.keys
        self.takes_headers = "header" in block.keys_from
        self.has_page = "page" in block.keys_from
        self.check_host = "" if block.verify is None else urlsplit(block.verify.url).netloc
        self.scopes: tuple[str, ...] = ()
        self.cookie_path = split_public_url(services.public_url)[1] + f"/{entry.name}/auth"
        self._is_secure = services.public_url.startswith("https:")
        self.page_url = f"{services.public_url}/{entry.name}/auth/keys"
        names = _Names(login, tuple(key.name for key in block.keys))
        self.fingerprint = fingerprint(names, "")
        self._services = services
        self._digest = PackageDigest(services.digest_key, package=entry.name, block=names, client_id="")
        self._waiting = WaitingLogins(
            package=entry.name,
            login_url=f"{services.public_url}/{entry.name}/auth/login",
            is_secure=self._is_secure,
            digest=self._digest,
            store=services.pending_auth_states,
            max_per_address=services.limits.max_per_address,
            now=services.now,
            random_bytes=services.random_bytes,
        )
        self._budget = CallBudget(services.now)
        """For what is typed; what comes in headers has one of its own, so that neither holds up the other."""
        self._check = None if block.verify is None else _KeyCheck(block, services)
        self._verifier = None
        if self._check is not None:
            self._verifier = CachedVerifier(
                self._check,
                digest=lambda text: self._digest.of("access_token", text),
                now=services.now,
                budget=CallBudget(services.now),
            )

    async def begin_login(
        self,
        *,
        client_address: str,
        kind: LoginKind = "json",
        scopes: Sequence[str] | None = None,
        carried: bytes = b"",
    ) -> LoginStart:
        """As `Upstream.begin_login`: the location is our own page."""
        begun = await self._waiting.begin(client_address=client_address, kind=kind, carried=carried)
        return LoginStart(
            location=f"{self.page_url}?state={begun.state}",
            cookie_name=begun.cookie_name,
            cookie_value=begun.cookie_value,
        )

    def login_cookie_name(self, state: str) -> str:
        """As `PackageAuth.login_cookie_name`."""
        return cookie_name(state, is_secure=self._is_secure)

    async def look(self, state: str, cookies: Mapping[str, str]) -> TakenLogin:
        """The login that the page belongs to, which goes on waiting. Raises LoginError: there is none."""
        return await self._waiting.look(state, cookies)

    async def take(self, state: str, cookies: Mapping[str, str]) -> TakenLogin:
        """The login that the page belongs to, no longer pending. Raises LoginError: there is none."""
        return await self._waiting.take(state, cookies)

    async def check(self, typed: Mapping[str, str], *, client_address: str) -> dict[str, str]:
        """What was typed on the page, as keys.

        Raises:
            KeysRefusedError: one is missing, of the wrong form, or not good at the API.
            LoginError: 429, too many tries.
            ProviderUnavailableError: the API would have to be asked and cannot answer.
        """
        await self._count_try(client_address)
        keys = self._read(typed)
        if self._check is not None:
            self._take_budget()
            try:
                async with self._budget.for_unknown:
                    await self._check.ask(keys)
            except TokenRefusedError as refusal:
                raise KeysRefusedError({"": refusal.why}) from None
            except ProviderAnswerError as error:
                raise ProviderUnavailableError(
                    "The keys cannot be checked now", why=error.why or error.what, hint="Try again in a moment."
                ) from error
        return keys

    async def redeem_for_client(
        self, taken: TakenLogin, query: Sequence[tuple[str, str]], *, scopes: Sequence[str]
    ) -> UpstreamGrant:
        """As `Upstream.redeem_for_client`; `query` holds the keys, which `check` found good."""
        return UpstreamGrant(person=self._person(dict(query)), access_token="", values=dict(query))

    async def renew(self, grant: UpstreamGrant) -> UpstreamGrant:
        """As `Upstream.renew`: keys stay what they are as long as the API takes them."""
        if self._check is not None:
            try:
                await self._check.ask(grant.values)
            except TokenRefusedError as refusal:
                raise ProviderAnswerError(refusal.why, provider_error="invalid_grant") from None
        return grant

    async def give_back(self, grant: UpstreamGrant) -> None:
        """As `Upstream.give_back`: keys are the person's own, and stay good."""

    async def admit(self, person: Person) -> None:
        """As `Upstream.admit`: keys do not say who somebody is."""

    async def read_headers(self, headers: Mapping[str, str]) -> tuple[Principal, Held] | None:
        """Whom the keys in a request's headers stand for; None where it has none, and may have a token instead.

        Raises:
            UnauthorizedError: they are not good, or are missing where nothing else is.
            ProviderUnavailableError: the API would have to be asked and cannot answer.
        """
        has_keys = any(key.header in headers for key in self.keys)
        if not self.takes_headers:
            if has_keys and "authorization" not in headers:
                raise UnauthorizedError(
                    "This package needs an access token.",
                    why="It takes no keys in headers.",
                    hint="Log in, and type them on the page; or the operator adds keys_from to the auth block.",
                )
            return None
        if not has_keys:
            if not self.has_page:
                raise UnauthorizedError("This package needs keys in headers.", hint=self._name_headers())
            if "authorization" not in headers:
                hint = f"Log in, and send Authorization: Bearer <token>; or without a login: {self._name_headers()}"
                raise UnauthorizedError("This package needs an access token, or keys in headers.", hint=hint)
            return None
        try:
            keys = self._read({key.name: _decode(headers.get(key.header, "")) for key in self.keys})
        except KeysRefusedError as refusal:
            labels = {key.name: key.header for key in self.keys}
            is_missing = not all(headers.get(key.header) for key in self.keys)
            why = " ".join(f"{labels.get(name, 'All keys')}: {fault}" for name, fault in refusal.faults.items())
            raise self._unauthorized(why, hint=self._name_headers() if is_missing else "Correct them.") from None
        except UnicodeDecodeError:
            raise self._unauthorized("One of them is not in UTF-8.", hint="Send UTF-8.") from None
        text = _KEYS.encode(keys).decode()
        if self._verifier is not None and await self._verifier.verify(text) is None:
            raise self._unauthorized("The service does not accept them.", hint="Compare them with what it shows.")
        person = self._person(keys)
        principal = Principal(
            issuer=person.issuer,
            subject=person.subject,
            client_id="headers",
            token_digest=self._digest.of("access_token", text),
        )
        return principal, (HeldLogin(self.login, person, "", None, keys),)

    def _read(self, typed: Mapping[str, str]) -> dict[str, str]:
        # As headers are read too: what people paste often has a space at an end, and no key begins or ends with one.
        keys = {key.name: typed.get(key.name, "").strip(" \t") for key in self.keys}
        faults = {key.name: fault for key in self.keys if (fault := _find_fault(key, keys[key.name]))}
        if not faults and sum(len(value.encode()) for value in keys.values()) > MAX_KEYS_BYTES:
            faults = {"": f"Together they are longer than {MAX_KEYS_BYTES} bytes."}
        if faults:
            raise KeysRefusedError(faults)
        return keys

    def _person(self, keys: Mapping[str, str]) -> Person:
        # The same keys are the same person here, whichever way they come.
        digest = self._digest.of("record", _KEYS.encode(keys).decode())
        return Person(issuer=KEYS_ISSUER, subject=f"login:{digest[:32]}")

    def _take_budget(self) -> None:
        """Many addresses together are bounded too, or the API would hear all their guesses from us."""
        try:
            self._budget.take()
        except ProviderUnavailableError:
            raise ProviderUnavailableError(
                "The keys cannot be checked now",
                why=f"Too many are typed here, and {self.check_host} is not asked about all of them.",
                hint="Try again in a moment.",
            ) from None

    async def _count_try(self, client_address: str) -> None:
        if await asks_too_often(
            self._services.codes, f"keys {self.package}", client_address, most=MAX_TRIES_PER_MINUTE
        ):
            raise LoginError(
                "Too many tries from this address",
                status=429,
                why=f"One address may try {MAX_TRIES_PER_MINUTE} times in a minute.",
                hint="Wait a minute, then try again.",
                retry_after_seconds=60,
            )

    def _unauthorized(self, why: str, *, hint: str) -> UnauthorizedError:
        return UnauthorizedError("The keys are not good", reason="invalid_token", why=why, hint=hint)

    def _name_headers(self) -> str:
        return f"Send {', '.join(key.header for key in self.keys)}."


class _KeyCheck:
    """Asks the API whether keys are good; as `TokenCheck`, for keys as one JSON text."""

    def __init__(self, block: KeysBlock, services: LoginServices) -> None:
        if block.verify is None:
            raise ValueError("the block has no check")
        self._verify = block.verify
        self._fetcher = services.fetcher

    async def ask(self, keys: Mapping[str, str]) -> None:
        """Raises TokenRefusedError, ProviderAnswerError, ProviderUnavailableError."""
        credentials = Credentials(values={f"keys.{name}": value for name, value in keys.items()})
        try:
            headers = {name: template.fill(credentials) for name, template in self._verify.headers}
            for value in headers.values():
                value.encode("ascii")
        except (FillError, UnicodeEncodeError):
            raise TokenRefusedError("They hold characters that the service cannot take.") from None
        host = urlsplit(self._verify.url).hostname
        try:
            answer = await self._fetcher.get(self._verify.url, headers=headers)
        except ProviderUnavailableError as error:
            # The operator reads in the log why: whoever types keys cannot change it.
            raise ProviderUnavailableError(
                "The keys cannot be checked now", why=f"{host} does not answer.", hint="Try again in a moment."
            ) from error
        if 200 <= answer.status < 300:
            return
        if answer.status in REFUSED_STATUSES:
            raise TokenRefusedError(f"{host} does not accept them.")
        raise ProviderUnavailableError(
            "The keys cannot be checked now",
            why=f"{host} answered {answer.status}.",
            hint="Try again in a moment.",
        )

    async def check(self, token: str, digest: str) -> Principal:
        await self.ask(msgspec.json.decode(token, type=dict[str, str]))
        return Principal(issuer=KEYS_ISSUER, subject="", client_id="", token_digest=digest)


def _decode(value: str) -> str:
    """The text of a header, of which each byte became a character. Raises UnicodeDecodeError."""
    return value if value.isascii() else value.encode("latin-1").decode()


def _find_fault(key: PersonKey, value: str) -> str | None:
    if not value:
        return "It is missing."
    if "\t" in value or LINE_BREAKERS.search(value):
        return "It holds a line break or another control character."
    if len(value.encode()) > MAX_KEYS_BYTES:
        return f"It is longer than {MAX_KEYS_BYTES} bytes."
    if key.pattern is None:
        return None
    if len(value) > MAX_PATTERN_VALUE_CHARACTERS or not re.fullmatch(key.pattern, value):
        return "It does not look like one: part of it may be missing, or it is something else."
    return None
