"""The walk: the four clients at once, then what they have in common, and a report."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from fluidmcp.cli.doctor.walk import way
from fluidmcp.cli.doctor.walk.address import Address
from fluidmcp.cli.doctor.walk.calls import Caller
from fluidmcp.cli.doctor.walk.clients import CLIENTS, ClientProfile
from fluidmcp.cli.doctor.walk.judgements.connection import judge_clock
from fluidmcp.cli.doctor.walk.login import LOGIN_SECONDS, logged_in
from fluidmcp.cli.doctor.walk.provider import look_behind
from fluidmcp.cli.doctor.walk.report import Diagnosis, Report, Track, single_out
from fluidmcp.cli.doctor.walk.seen import Answer
from fluidmcp.cli.doctor.walk.traffic import HOLD_SECONDS, check_both, check_headers, check_size
from fluidmcp.cli.doctor.walk.way import LoginSeen, Way
from fluidmcp.config.secret import Secret

_NO_LOGIN: Final = "Nobody could log in: the gateway registers no clients, or did not come to a login."
_NO_CALL: Final = "No call and no stream was looked at: that needs a token (--login, or --token-env NAME)."


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What else the person gave: a token, an open eye for a while, or a browser to log in with."""

    token: Secret | None = None
    hold_seconds: float = HOLD_SECONDS
    show_login: Callable[[str], None] | None = None
    """Gets the address of a login that the person then makes."""
    login_seconds: float = LOGIN_SECONDS


async def walk(address: Address, caller: Caller, wishes: Wishes | None = None) -> Report:
    """What each client meets at the address. Raises PortInUseError where a login cannot be listened for."""
    tracks = tuple(Track(client.name) for client in CLIENTS)
    ways = await asyncio.gather(
        *(way.go(client, address, caller, track) for client, track in zip(CLIENTS, tracks, strict=True))
    )
    arrived = [track for track in tracks if track.levels.get("first call") == "ok"]
    for client, track in zip(CLIENTS, tracks, strict=True):
        note = _judge_place(client, address)
        if note is not None:
            track.add(note)
    notes: list[str] = []
    if arrived:
        notes = await _look_at_the_rest(address, caller, ways, arrived, wishes or Wishes())
    single_out(tracks)
    return Report(url=address.url, tracks=tracks, notes=tuple(notes))


async def _look_at_the_rest(
    address: Address, caller: Caller, ways: Sequence[Way], arrived: Sequence[Track], wishes: Wishes
) -> list[str]:
    """What all clients have in common that came so far."""
    first = next(one.first for one in ways if one.first is not None)
    login = next((one.login for one in ways if one.login is not None and one.login.form is not None), None)
    behind, calls = Track(""), Track("")
    notes, provider = await asyncio.gather(
        _check_traffic(address, caller, ways, wishes.token, wishes.hold_seconds, calls),
        _look_behind(login, address, caller, behind),
    )
    if notes and wishes.show_login is not None and behind.is_fine:
        notes = await _log_in(address, caller, ways, wishes, behind, calls)
    clock = judge_clock(first, provider)
    for track in arrived:
        if clock is not None:
            track.add(clock)
        track.join(calls)
        if track.levels.get("authorize") == "ok":
            track.join(behind)
    return notes


async def _look_behind(login: LoginSeen | None, address: Address, caller: Caller, track: Track) -> Answer | None:
    return None if login is None else await look_behind(login, address, caller, track)


async def _log_in(
    address: Address, caller: Caller, ways: Sequence[Way], wishes: Wishes, behind: Track, calls: Track
) -> list[str]:
    # The page that asks was there for somebody: the browser is sent nowhere that doctor itself has not been.
    documents = next((one.documents for one in ways if one.login is not None), None)
    if documents is None or wishes.show_login is None:
        return [_NO_LOGIN]
    async with logged_in(
        address, documents, caller, behind, show_address=wishes.show_login, seconds=wishes.login_seconds
    ) as token:
        if token is None:
            return [] if behind.diagnoses else [_NO_LOGIN]
        await _check_calls(address, caller, token, wishes.hold_seconds, calls)
    return []


async def _check_traffic(
    address: Address, caller: Caller, ways: Sequence[Way], token: Secret | None, hold_seconds: float, track: Track
) -> list[str]:
    """Note what happens to calls; and say what was not looked at."""
    refusal = next((one.first for one in ways if one.first is not None and one.first.status == 401), None)
    is_open = any(one.is_open for one in ways)
    checks = [check_size(address, caller)]
    if refusal is not None:
        checks.append(check_headers(refusal, address, caller))
    if token is not None or is_open:
        given = token if refusal is not None else None
        found, _ = await asyncio.gather(
            asyncio.gather(*checks), _check_calls(address, caller, given, hold_seconds, track)
        )
    else:
        found = await asyncio.gather(*checks)
    track.add(*(one for one in found if one is not None))
    return [] if token is not None or is_open else [_NO_CALL]


async def _check_calls(
    address: Address, caller: Caller, token: Secret | None, hold_seconds: float, track: Track
) -> None:
    found, has_stream = await check_both(address, caller, token, hold_seconds=hold_seconds)
    track.add(*found)
    track.passed("call")
    if has_stream:
        track.passed("stream")


def _judge_place(client: ClientProfile, address: Address) -> Diagnosis | None:
    """A service calls from its own machines: over https, and not to addresses of this network."""
    if client.place == "device" or not (address.is_local or address.url.startswith("http:")):
        return None
    return Diagnosis(
        code="not_public",
        step="connection",
        level="warning",
        cause=f"Services call from machines of their own, over https: they do not reach {address.origin}.",
        remedy="Nothing, if only programs on devices use it. Else give it a public name and a certificate "
        "(docs/deployment.md).",
    )
