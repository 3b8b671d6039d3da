"""Behind the page that asks: the provider, and whether it and the gateway know each other. Nobody logs in.

Yes is said on the gateway's page, which sends nothing but the login request on. What comes back to the gateway is a
code that is none: where the provider knows the gateway, it refuses the code; where not, the gateway.
"""

from typing import Final
from urllib.parse import parse_qsl, urlencode, urlunsplit

from fluidmcp.authorization_server.metadata import OPENID_CONFIGURATION
from fluidmcp.cli.doctor.walk.address import Address, join_address, split_address
from fluidmcp.cli.doctor.walk.calls import Caller
from fluidmcp.cli.doctor.walk.judgements.connection import judge_failure
from fluidmcp.cli.doctor.walk.judgements.login import (
    judge_consent,
    judge_provider_page,
    judge_provider_scopes,
    judge_redeemed,
    judge_request_to_provider,
)
from fluidmcp.cli.doctor.walk.report import Track
from fluidmcp.cli.doctor.walk.seen import Answer, Failure, text_of
from fluidmcp.cli.doctor.walk.way import BROWSER, LoginSeen, resolve_form

MAX_PARENTS: Final = 3
"""How far above its login page the document of a provider is looked for."""
NO_CODE: Final = "fluidmcp-doctor-asks-whether-you-know-this-gateway"


async def look_behind(login: LoginSeen, address: Address, caller: Caller, track: Track) -> Answer | None:
    """Note what is wrong; the provider's answer, for its clock."""
    if not resolve_form(login).startswith(f"{address.origin}/"):
        # Another authorization server, whose page is not ours to answer.
        return None
    answer = await _allow(login, address, caller)
    if isinstance(answer, Failure):
        track.add(judge_failure(answer, "provider"))
        return None
    wrong = judge_consent(answer, login.client)
    location = join_address(answer.url, answer.header("location"))
    if wrong is None and answer.header("location"):
        wrong = judge_request_to_provider(location, address)
    if wrong is not None and track.add(wrong):
        return None
    if not answer.header("location"):
        # Keys that the person types, or a login that asks something first: pages of the gateway.
        return None
    page = await caller.call("GET", _ask_silently(location), BROWSER)
    if isinstance(page, Failure):
        track.add(judge_failure(page, "provider"))
        return None
    document = await _find_document(location, caller)
    found = (judge_provider_page(page, location), judge_provider_scopes(location, document or {}))
    is_refused = track.add(*(one for one in found if one is not None))
    track.passed("provider")
    if not is_refused:
        issuer = text_of(document or {}, "issuer")
        await _come_back(login, location, (*login.page.cookies, *answer.cookies), issuer, caller, track)
    return page


async def _allow(login: LoginSeen, address: Address, caller: Caller) -> Answer | Failure:
    assert login.form is not None
    headers = {
        **BROWSER,
        "content-type": "application/x-www-form-urlencoded",
        "origin": address.origin,
        "cookie": "; ".join(login.page.cookies),
    }
    form = urlencode({"request": login.form.request, "decision": "allow"}).encode()
    return await caller.call("POST", resolve_form(login), headers, form)


async def _come_back(
    login: LoginSeen, location: str, cookies: tuple[str, ...], issuer: str, caller: Caller, track: Track
) -> None:
    asked = dict(parse_qsl(split_address(location).query))
    query = {"code": NO_CODE, "state": asked.get("state", ""), **({"iss": issuer} if issuer else {})}
    url = f"{asked.get('redirect_uri', '')}?{urlencode(query)}"
    answer = await caller.call("GET", url, {**BROWSER, "cookie": "; ".join(cookies)}, seconds=15.0)
    wrong = judge_failure(answer, "token") if isinstance(answer, Failure) else judge_redeemed(answer, login.client)
    if wrong is not None:
        track.add(wrong)
    track.passed("token")


async def _find_document(location: str, caller: Caller) -> dict[str, object] | None:
    """The OpenID Connect document of the provider with this login page, if it has one above it."""
    parts = split_address(location)
    segments = parts.path.strip("/").split("/")[:-1]
    for count in range(min(len(segments), MAX_PARENTS) + 1):
        above = "".join(f"/{segment}" for segment in segments[:count])
        url = f"{parts.scheme}://{parts.netloc}{above}{OPENID_CONFIGURATION}"
        answer = await caller.call("GET", url, {"accept": "application/json", "accept-encoding": "identity"})
        document = answer.document if isinstance(answer, Answer) and answer.status == 200 else None
        if document is not None and text_of(document, "authorization_endpoint").partition("?")[0] == urlunsplit(
            (parts.scheme, parts.netloc, parts.path, "", "")
        ):
            return dict(document)
    return None


def _ask_silently(location: str) -> str:
    parts = split_address(location)
    query = dict(parse_qsl(parts.query, keep_blank_values=True)) | {"prompt": "none"}
    return urlunsplit((parts.scheme, parts.netloc, parts.path, urlencode(query), ""))
