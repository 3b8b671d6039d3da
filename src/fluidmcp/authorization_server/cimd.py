"""Client ID Metadata Documents: a client's id is the address of a document that describes it.

Anybody can name an address, so fetching one is limited in every way: public https hosts only (the Fetcher that is
handed in sees to that, and to redirects), five seconds, 64 kB, a number a minute. Documents are kept as their HTTP
headers say, failures for half a minute. draft-ietf-oauth-client-id-metadata-document; MCP 2025-11-25, "Authorization".
"""

import asyncio
import email.utils
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, cast
from urllib.parse import urlsplit

import msgspec

from fluidmcp.authorization_server.client_metadata import check_grants, read_client_name, read_redirect_uris
from fluidmcp.errors import OAuthError, ProviderAnswerError, ProviderUnavailableError
from fluidmcp.oauth_client.fetch import FetchAnswer, Fetcher

MAX_ID_CHARACTERS: Final = 512
MAX_DOCUMENTS: Final = 1000
DEFAULT_SECONDS: Final = 300.0
MAX_SECONDS: Final = 24 * 3600.0
FAILURE_SECONDS: Final = 30.0
FETCHES_PER_MINUTE: Final = 120
FETCHES_PER_ADDRESS_AND_MINUTE: Final = 30
WINDOW_SECONDS: Final = 60.0

_ID: Final = re.compile(r"https://[a-z0-9.-]+(:[0-9]{1,5})?/[!$%&'()*+,\-./0-9:;=@A-Z_a-z~?]+", re.ASCII)
_JSON: Final = re.compile(r"application/([a-z0-9.+-]+\+)?json", re.ASCII)
_MAX_AGE: Final = re.compile(r"(?:^|,)\s*max-age\s*=\s*\"?([0-9]{1,10})", re.IGNORECASE)
_NOT_KEPT: Final = re.compile(r"(?:^|,)\s*no-(?:store|cache)\b", re.IGNORECASE)
_SECRET_METHODS: Final = frozenset({"client_secret_basic", "client_secret_post", "client_secret_jwt"})

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientDocument:
    """What a document says of its client."""

    url: str
    name: str
    redirect_uris: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Kept:
    outcome: ClientDocument | OAuthError
    ends_at: float


def is_document_id(client_id: str) -> bool:
    """Whether a client id is the address of a document: https, a path, nothing that could be read in two ways."""
    if len(client_id) > MAX_ID_CHARACTERS or not _ID.fullmatch(client_id):
        return False
    try:
        parts = urlsplit(client_id)
        port = parts.port
    except ValueError:
        return False
    segments = parts.path.split("/")
    return port != 0 and not {".", ".."} & set(segments) and "%2e" not in parts.path.lower()


class ClientDocuments:
    """Fetches and keeps the documents of all packages. `fetcher` must refuse private addresses and this machine."""

    def __init__(self, fetcher: Fetcher, *, now: Callable[[], float]) -> None:
        self._fetcher = fetcher
        self._now = now
        self._kept: dict[str, _Kept] = {}
        self._fetching: dict[str, asyncio.Task[_Kept]] = {}
        self._window_ends_at = 0.0
        self._fetches: dict[str, int] = {}

    async def find(self, url: str, *, client_address: str) -> ClientDocument:
        """The document at an address that `is_document_id`.

        Raises:
            OAuthError: `invalid_client`, it cannot be had or is none; `temporarily_unavailable`, too many are fetched.
        """
        kept = self._kept.get(url)
        if kept is None or kept.ends_at <= self._now():
            task = self._fetching.get(url)
            if task is None:
                self._count(client_address)
                # A task of its own: somebody who goes away must not stop it for the others.
                task = self._fetching[url] = asyncio.create_task(self._fetch(url))
                task.add_done_callback(lambda _: self._fetching.pop(url, None))
            await asyncio.wait({task})
            kept = task.result()
        if isinstance(kept.outcome, OAuthError):
            raise kept.outcome
        return kept.outcome

    async def _fetch(self, url: str) -> _Kept:
        try:
            answer = await self._fetcher.get(url)
            kept = _Kept(read_document(answer, url=url), self._now() + read_freshness(answer))
        except (ProviderUnavailableError, ProviderAnswerError) as error:
            logger.info("the document of a client cannot be fetched: %s", error.why)
            kept = _Kept(_refused("Its document cannot be fetched."), self._now() + FAILURE_SECONDS)
        except OAuthError as error:
            kept = _Kept(_refused(f"Its document is not good: {error.what}"), self._now() + FAILURE_SECONDS)
        self._kept.pop(url, None)
        if len(self._kept) >= MAX_DOCUMENTS:
            del self._kept[next(iter(self._kept))]
        self._kept[url] = kept
        return kept

    def _count(self, client_address: str) -> None:
        now = self._now()
        if now >= self._window_ends_at:
            self._fetches.clear()
            self._window_ends_at = now + WINDOW_SECONDS
        of_all = sum(self._fetches.values())
        of_address = self._fetches.get(client_address, 0)
        if of_all >= FETCHES_PER_MINUTE or of_address >= FETCHES_PER_ADDRESS_AND_MINUTE:
            raise OAuthError(
                "temporarily_unavailable",
                "Too many programs that are not known yet ask to be let in.",
                status=429,
                hint="Try again in a minute.",
                retry_after_seconds=WINDOW_SECONDS,
            )
        self._fetches[client_address] = of_address + 1


def read_document(answer: FetchAnswer, *, url: str) -> ClientDocument:
    """The document in an answer. Pure.

    Raises:
        OAuthError: it is none, describes another client, or wants something that cannot be.
    """
    if answer.status != 200:
        raise _unusable("the answer is not 200")
    if not _JSON.fullmatch(answer.media_type):
        raise _unusable("it is not application/json")
    try:
        decoded = msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _unusable("it cannot be read as JSON") from error
    if not isinstance(decoded, dict):
        raise _unusable("it is no JSON object")
    document = cast("Mapping[str, object]", decoded)
    if document.get("client_id") != url:
        raise _unusable("its client_id is not, letter by letter, its own address")
    if not isinstance(document.get("client_name"), str) or not document.get("client_name"):
        raise _unusable("it has no client_name")
    if "client_secret" in document or document.get("token_endpoint_auth_method") in _SECRET_METHODS:
        # Section 4.1 of the draft: a public document cannot hold a secret, and there is no other place for one.
        raise _unusable("it speaks of a client secret")
    redirect_uris = read_redirect_uris(document)
    check_grants(document)
    return ClientDocument(url=url, name=read_client_name(document, redirect_uris), redirect_uris=redirect_uris)


def read_freshness(answer: FetchAnswer) -> float:
    """How many seconds an answer may be kept (RFC 9111 section 4.2), within our own bounds. Pure."""
    if _NOT_KEPT.search(answer.cache_control):
        return 0.0
    max_age = _MAX_AGE.search(answer.cache_control)
    if max_age is not None:
        age = int(answer.age) if answer.age.isascii() and answer.age.isdigit() and len(answer.age) < 10 else 0
        return min(max(0.0, float(max_age[1]) - age), MAX_SECONDS)
    if answer.expires:
        try:
            expires = email.utils.parsedate_to_datetime(answer.expires).timestamp()
            date = email.utils.parsedate_to_datetime(answer.date).timestamp()
        except (ValueError, OverflowError):
            # Section 5.3: an invalid date counts as expired.
            return 0.0
        return min(max(0.0, expires - date), MAX_SECONDS)
    return DEFAULT_SECONDS


def _unusable(why: str) -> OAuthError:
    return OAuthError("invalid_client", f"{why}.")


def _refused(why: str) -> OAuthError:
    return OAuthError(
        "invalid_client",
        "This program cannot be identified.",
        why=why,
        hint="Try again in a minute; if it goes on, tell the makers of the program.",
    )
