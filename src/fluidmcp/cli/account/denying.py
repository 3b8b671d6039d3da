"""What `revoke` and `allow` do: change the deny list, at its place or at a gateway somewhere else."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, Literal, TypeVar

import msgspec

from fluidmcp.cli.account.session import fetch_token, prepare
from fluidmcp.cli.gateway_url import find_gateway_url
from fluidmcp.cli.output import print_line, print_notice, print_table, print_warning
from fluidmcp.config.environment import Environment, parse_environment
from fluidmcp.config.oauth import load_oauth_settings
from fluidmcp.config.settings import find_deny_list
from fluidmcp.crypto.sealing import Sealer
from fluidmcp.errors import (
    ConfigurationError,
    GatewayUnreachableError,
    ProviderAnswerError,
    ProviderUnavailableError,
    UserError,
)
from fluidmcp.oauth_client.fetch import FetchAnswer, Fetcher
from fluidmcp.operator.token_file import find_token_file
from fluidmcp.store.deny_list import Denial, DenyList, check_name
from fluidmcp.store.deny_places import FilePlace, build_shared_place
from fluidmcp.store.redis_check import check_redis
from fluidmcp.store.redis_server import RedisServer

Action = Literal["revoke", "allow"]
T = TypeVar("T")

_DONE: Final[Mapping[tuple[Action, bool], str]] = {
    ("revoke", True): "{who} is shut out of {where}.",
    ("revoke", False): "{who} was shut out of {where} already.",
    ("allow", True): "{who} may log in again to {where}.",
    ("allow", False): "Nothing changed: no entry shuts {who} out of {where}.",
}


class _Error(msgspec.Struct, frozen=True):
    message: str = ""
    why: str = ""
    hint: str = ""


class _Changed(msgspec.Struct, frozen=True):
    changed: bool


class _Listed(msgspec.Struct, frozen=True):
    subject: str
    since: float
    package: str | None = None


class _People(msgspec.Struct, frozen=True):
    people: list[_Listed]


def change_denied(action: Action, subject: str, *, package: str | None, url: str | None) -> int:
    """Shut somebody out, or let them in again; the exit code.

    Raises:
        UserError: it is no subject, no place for the list is known, or the gateway refused.
        StoreUnavailableError: Redis does not answer.
    """
    check_name(subject)
    environ = prepare()
    if url is None:
        is_changed = asyncio.run(_change_here(environ, action, subject, package))
    else:
        document = {"subject": subject, **({} if package is None else {"package": package})}
        is_changed = _decode(asyncio.run(_ask(environ, url, action, document)), _Changed).changed
    where = "all packages" if package is None else package
    print_line(_DONE[action, is_changed].format(who=subject, where=where))
    if "@" in subject and "|" not in subject and action == "revoke":
        print_warning(
            "This looks like a mail address. People are known by the subject (sub) that their provider gives them, "
            "which is one only at some."
        )
    return 0


def show_denied(*, url: str | None) -> int:
    """Print who is shut out; the exit code. Raises as `change_denied`."""
    environ = prepare()
    if url is None:
        people: Sequence[Denial] = asyncio.run(_read_here(environ))
    else:
        listed = _decode(asyncio.run(_ask(environ, url, None, {})), _People).people
        people = [Denial(one.subject, one.since, one.package) for one in listed]
    if not people:
        print_line("Nobody is shut out.")
        return 0
    print_table(("SUBJECT", "PACKAGE"), [(one.who, one.package or "(all)") for one in people])
    return 0


async def _change_here(environ: Mapping[str, str], action: Action, subject: str, package: str | None) -> bool:
    async with _open_here(environ) as deny_list:
        change = deny_list.revoke if action == "revoke" else deny_list.allow
        is_changed = await change(subject, package)
        print_notice(f"The list is in {deny_list.where}: gateways that read it there follow within two seconds.")
        print_notice("Gateways with another HOME, FMCP_DENY_LIST, FMCP_REDIS_URL or FMCP_SEAL_KEYS do not read it.")
        return is_changed


async def _read_here(environ: Mapping[str, str]) -> Sequence[Denial]:
    async with _open_here(environ) as deny_list:
        print_notice(f"In {deny_list.where}:")
        return deny_list.people


@asynccontextmanager
async def _open_here(environ: Mapping[str, str]) -> AsyncGenerator[DenyList]:
    """The list where gateways with this environment have it. Raises ConfigurationError."""
    environment = _read(environ)
    if environment.redis_url is None:
        path = find_deny_list(environ, environment)
        if path is None:
            raise ConfigurationError(
                "There is no place for the deny list.", why="HOME is not set.", hint="Name a file with FMCP_DENY_LIST."
            )
        deny_list = DenyList(FilePlace(path))
        await deny_list.begin()
        yield deny_list
        return
    if not environment.seal_keys:
        raise ConfigurationError(
            "FMCP_REDIS_URL needs FMCP_SEAL_KEYS.", hint="Export those of the gateways: the list in Redis is sealed."
        )
    server = RedisServer(environment.redis_url)
    try:
        await check_redis(server)
        deny_list = DenyList(build_shared_place(server, Sealer(environment.seal_keys)))
        await deny_list.begin()
        yield deny_list
    finally:
        await server.aclose()


def _read(environ: Mapping[str, str]) -> Environment:
    environment, faults = parse_environment(environ)
    if faults:
        raise ConfigurationError("The settings are not valid.", why="; ".join(faults) + ".")
    return environment


async def _ask(environ: Mapping[str, str], url: str, action: Action | None, document: Mapping[str, str]) -> FetchAnswer:
    """The answer of a gateway somewhere else to its operator. Raises UserError, and as `OperatorToken.fresh`."""
    gateway = find_gateway_url(url)
    address = f"{gateway}/deny-list"
    headers = {"Authorization": f"Bearer {await _find_token(environ)}"}
    fetcher = Fetcher(allow_private=True, max_answer_bytes=4 * 1024 * 1024)
    try:
        if action is None:
            answer = await fetcher.get(address, headers=headers)
        else:
            answer = await fetcher.post_json(f"{address}/{action}", document, headers=headers)
    except (ProviderUnavailableError, ProviderAnswerError) as error:
        raise GatewayUnreachableError(
            f"The gateway at {gateway} does not answer.",
            why=error.why,
            hint="Check the address (https, or http on this machine) and that the gateway runs.",
        ) from error
    finally:
        await fetcher.aclose()
    if answer.status == 200:
        return answer
    told = _decode(answer, _Error, otherwise=_Error())
    raise UserError(
        told.message or f"The gateway at {gateway} answered {answer.status}.",
        why=told.why,
        hint=told.hint or "Use the token of its operator: fluidmcp login, or FMCP_SECURE_TOKEN for --secure.",
    )


async def _find_token(environ: Mapping[str, str]) -> str:
    environment = _read(environ)
    if environment.secure_token is not None:
        return environment.secure_token.reveal()
    settings = load_oauth_settings(environ)
    if settings.access_token is not None:
        return settings.access_token.reveal()
    return await fetch_token(settings, find_token_file(environ), refresh=False)


def _decode(answer: FetchAnswer, kind: type[T], *, otherwise: T | None = None) -> T:
    try:
        return msgspec.json.decode(answer.body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if otherwise is not None:
            return otherwise
        raise UserError(
            "The answer is not that of a FluidMCP gateway.", hint="Check the address: it is the gateway's public URL."
        ) from error
