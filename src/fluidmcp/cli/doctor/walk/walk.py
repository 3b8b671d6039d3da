"""The walk: the four clients at once, then what they have in common, and a report."""

import asyncio
from collections.abc import Sequence
from typing import Final

from fluidmcp.cli.doctor.walk import way
from fluidmcp.cli.doctor.walk.address import Address
from fluidmcp.cli.doctor.walk.calls import Caller
from fluidmcp.cli.doctor.walk.clients import CLIENTS, ClientProfile
from fluidmcp.cli.doctor.walk.judge_connection import judge_clock
from fluidmcp.cli.doctor.walk.provider import look_behind
from fluidmcp.cli.doctor.walk.report import Diagnosis, Report, Track, single_out
from fluidmcp.cli.doctor.walk.seen import Answer
from fluidmcp.cli.doctor.walk.traffic import HOLD_SECONDS, check_both, check_headers, check_size
from fluidmcp.cli.doctor.walk.way import LoginSeen, Way
from fluidmcp.config.secret import Secret

_NO_CALL: Final = "No call and no stream was looked at: that needs a token (--token-env NAME)."


async def walk(
    address: Address, caller: Caller, *, token: Secret | None = None, hold_seconds: float = HOLD_SECONDS
) -> Report:
    """What each client meets at the address."""
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
        notes = await _look_at_the_rest(address, caller, ways, arrived, token, hold_seconds)
    single_out(tracks)
    return Report(url=address.url, tracks=tracks, notes=tuple(notes))


async def _look_at_the_rest(
    address: Address,
    caller: Caller,
    ways: Sequence[Way],
    arrived: Sequence[Track],
    token: Secret | None,
    hold_seconds: float,
) -> list[str]:
    refusal = next((one.first for one in ways if one.first is not None and one.first.status == 401), None)
    first = next(one.first for one in ways if one.first is not None)
    login = next((one.login for one in ways if one.login is not None and one.login.form is not None), None)
    behind = Track("")
    shared, provider = await asyncio.gather(
        _check_traffic(address, caller, refusal, token, hold_seconds, is_open=any(one.is_open for one in ways)),
        _look_behind(login, address, caller, behind),
    )
    found, notes = shared
    clock = judge_clock(first, provider)
    for track in arrived:
        if clock is not None:
            track.add(clock)
        track.add(*found.diagnoses)
        if login is not None and track.levels.get("authorize") == "ok":
            track.add(*behind.diagnoses)
        for step in (*found.levels, *(behind.levels if track.levels.get("authorize") == "ok" else ())):
            track.passed(step)
    return notes


async def _look_behind(login: LoginSeen | None, address: Address, caller: Caller, track: Track) -> Answer | None:
    return None if login is None else await look_behind(login, address, caller, track)


async def _check_traffic(
    address: Address,
    caller: Caller,
    refusal: Answer | None,
    token: Secret | None,
    hold_seconds: float,
    *,
    is_open: bool,
) -> tuple[Track, list[str]]:
    track = Track("")
    checks = [check_size(address, caller)]
    if refusal is not None:
        checks.append(check_headers(refusal, address, caller))
    if token is None and not is_open:
        found = await asyncio.gather(*checks)
        track.add(*(one for one in found if one is not None))
        return track, [_NO_CALL]
    (more, _, has_stream), found = await asyncio.gather(
        check_both(address, caller, token if refusal is not None else None, hold_seconds=hold_seconds),
        asyncio.gather(*checks),
    )
    track.add(*(one for one in found if one is not None), *more)
    track.passed("call")
    if has_stream:
        track.passed("stream")
    return track, []


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
