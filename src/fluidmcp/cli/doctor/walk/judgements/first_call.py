"""What the answer to a client's first call says, which has no token: pure module."""

from typing import Final

from fluidmcp.cli.doctor.walk.address import Address, describe_difference, join_address, split_address
from fluidmcp.cli.doctor.walk.report import Diagnosis
from fluidmcp.cli.doctor.walk.seen import Answer, members_of, read_challenge, text_of
from fluidmcp.operator.browser_flow import clean_text

_PROXY: Final = "docs/deployment.md shows a configuration of nginx that works."


def judge_first_call(answer: Answer, address: Address) -> Diagnosis | None:
    """None where it is a 401 that a client can follow, or an answer to the call itself."""
    if 300 <= answer.status < 400:
        return _judge_redirect(answer, address)
    if answer.status == 401:
        return _judge_challenge(answer, address)
    if answer.status == 200:
        return _judge_success(answer, address)
    if answer.is_ours:
        return _judge_own_refusal(answer, address)
    return _judge_foreign_refusal(answer, address)


def _found(code: str, cause: str, remedy: str) -> Diagnosis:
    return Diagnosis(code=code, step="first call", cause=cause, remedy=remedy)


def _judge_redirect(answer: Answer, address: Address) -> Diagnosis:
    target = join_address(address.url, answer.header("location"))
    if target.rstrip("/") == address.url.rstrip("/"):
        shape = "with" if target.endswith("/") else "without"
        return _found(
            "redirect_slash",
            f"The call is redirected to the same address {shape} a slash at its end. Clients lose call or token there.",
            f"Take that redirect out of the proxy, so that {address.url.rstrip('/')} reaches the gateway. {_PROXY}",
        )
    parts = split_address(target)
    if describe_difference(target, address.url) == "scheme":
        if parts.scheme == "https":
            return _found(
                "redirect_https",
                f"{address.url} is redirected to {target}. Clients do not send a call again over another scheme.",
                f"Give clients {target}.",
            )
        where = "plain http" if parts.scheme == "http" else "an address that is none of the web"
        return _found(
            "redirect_elsewhere",
            f"The call is redirected to {where}, where no client follows with a token.",
            f"Let calls to the gateway through without that redirect (nginx: proxy_redirect, $scheme). {_PROXY}",
        )
    place = parts.netloc
    return _found(
        "redirect_elsewhere",
        f"The call is redirected to {place}, as a login in front of the gateway or a moved site does it.",
        "Let calls to the gateway through without that redirect: MCP clients have no browser session. If the gateway "
        f"has moved, give clients {target}.",
    )


def _judge_challenge(answer: Answer, address: Address) -> Diagnosis | None:
    header = answer.header("www-authenticate")
    if not header:
        return _found(
            "challenge_missing",
            "The 401 has no WWW-Authenticate header: something in front of the gateway takes it away."
            if answer.is_ours
            else "The 401 has no WWW-Authenticate header, and does not come from the gateway.",
            f"Let the proxy pass WWW-Authenticate on (nginx: no proxy_hide_header for it). {_PROXY}",
        )
    parameters = read_challenge(header)
    if not parameters:
        return _found(
            "proxy_login",
            f"Something in front of the gateway wants a login of its own ({header.partition(' ')[0][:40]}).",
            "Take that login away from the gateway's paths (nginx: auth_basic off). The gateway has its own: --oauth, "
            "--secure, or auth in each package.",
        )
    if not parameters.get("resource_metadata"):
        if answer.is_ours:
            return _found(
                "no_client_login",
                "The gateway wants a token, and has no login for MCP clients: the 401 names no resource_metadata.",
                "Give the package an auth block, or start the gateway with --oauth and a login in the browser "
                "(docs/mcp-clients.md); or give clients a token as a header.",
            )
        return _found(
            "challenge_foreign",
            "The 401 names no resource_metadata (RFC 9728), and does not come from a FluidMCP gateway.",
            "Check that the address is that of the gateway, and that no other guard answers in front of it.",
        )
    return judge_own_address(parameters["resource_metadata"], address, is_document=True)


def judge_own_address(said: str, address: Address, *, is_document: bool) -> Diagnosis | None:
    """Whether the gateway takes itself for what was typed. `said` is its address of the endpoint, or of the document
    about it.
    """
    expected = address.inserted if is_document else address.url
    part = describe_difference(said, expected)
    if not part:
        return None
    told = split_address(said)
    own = f"{told.scheme}://{told.netloc}"
    if part == "path":
        document = split_address(address.root).path
        own += told.path.removeprefix(document) if is_document else told.path
        cause = f"The gateway takes the endpoint for {own}, but it is reached at {address.url}: the path differs."
    else:
        cause = f"The gateway takes itself for {own}, but it is reached at {address.origin}: the {part} differs."
    return _found(
        f"public_url_{part}",
        f"{cause} All addresses that it gives to clients are wrong.",
        f"Start it with --public-url {address.base}"
        + (", or give clients its own address." if part != "path" else "."),
    )


def _judge_success(answer: Answer, address: Address) -> Diagnosis | None:
    document = answer.document
    if document is None or "jsonrpc" not in document:
        title = f' ("{answer.title}")' if answer.title else ""
        return _found(
            "another_site",
            f"A page answers at {address.url}{title}, and no MCP server: the call does not come to the gateway.",
            f"Let the proxy pass this path on to the gateway. {_PROXY}",
        )
    return None


def _judge_own_refusal(answer: Answer, address: Address) -> Diagnosis:
    document = answer.document or {}
    code, message = text_of(document, "error"), text_of(document, "message")
    if answer.status == 421:
        return _found(
            "host_refused",
            f"The gateway is not reached under its own name: the proxy sends another Host than {address.host}.",
            "Pass the name on (nginx: proxy_set_header Host $host), set --public-url to the address that clients use, "
            "or add the name to FMCP_ALLOWED_HOSTS.",
        )
    if answer.status == 403 and "origin" in message:
        return _found(
            "origin_added",
            "The gateway refuses an Origin header that the client did not send: the proxy adds it.",
            'Take it out of the proxy (nginx: proxy_set_header Origin "").',
        )
    if answer.status == 404 or (answer.status == 405 and not address.is_endpoint):
        return _judge_not_found(message, address)
    if "jsonrpc" in document or answer.status in (429, 502, 503):
        return judge_rpc_error(answer) or _refused(answer)
    cause = f"The gateway refuses the call: HTTP {answer.status} {code}. {message}".rstrip()
    return _found("refused", cause, text_of(document, "hint") or "See the gateway's log.")


def _judge_not_found(message: str, address: Address) -> Diagnosis:
    if address.path.endswith("/") and address.is_endpoint:
        return _found(
            "trailing_slash",
            "The address ends with a slash, and the gateway knows it without one.",
            f"Give clients {address.url.rstrip('/')}.",
        )
    if not address.is_endpoint:
        return _found(
            "no_endpoint",
            f"{address.url} is an address of the gateway, but not that of a package.",
            "Addresses of packages end with /PACKAGE/mcp. The start output of the gateway lists them.",
        )
    if "package" in message:
        return _found(
            "package_missing",
            f"The gateway serves no package of the name in {address.path}.",
            "Correct the name. The start output of the gateway lists its packages, and those that did not start.",
        )
    return _found(
        "path_changed",
        f"The gateway does not know the path that reaches it for {address.url}: the proxy takes a part of it away, or "
        "the public URL of the gateway has another path.",
        "Pass the path on as it came (nginx: proxy_pass without a path or slash behind the address), and start the "
        f"gateway with --public-url {address.base}.",
    )


def _judge_foreign_refusal(answer: Answer, address: Address) -> Diagnosis:
    server = answer.header("server").partition("/")[0][:40] or "What answers there"
    if answer.status == 400 and "HTTPS port" in answer.text:
        return _found(
            "not_http",
            f"{address.origin} expects https, and was asked over http.",
            f"Give clients https://{address.url.partition('://')[2]}.",
        )
    if answer.status in (502, 503, 504):
        return _found(
            "gateway_down",
            f"{server} answers {answer.status}: it stands in front of the gateway and does not reach it.",
            "Start the gateway, and compare the proxy's target with the address and port that the gateway prints.",
        )
    if answer.status == 413:
        return _found("body_limit", f"{server} refuses even a small call as too large.", "Raise its limit for bodies.")
    if answer.status in (401, 403, 406, 409, 429):
        return _found(
            "blocked",
            f"{server} answers {answer.status} in front of the gateway, which never sees the call.",
            "Let calls to the gateway through in the firewall or proxy in front of it.",
        )
    return _found(
        "another_site",
        f"{server} answers {answer.status} at {address.url}, and not the gateway.",
        f"Correct the address, or let the proxy pass this path on to the gateway. {_PROXY}",
    )


def _refused(answer: Answer) -> Diagnosis:
    return _found("refused", f"The gateway refuses the call: HTTP {answer.status}.", "See its log.")


def judge_rpc_error(answer: Answer) -> Diagnosis | None:
    """A call that came to the gateway, and that its server did not answer; None where it did."""
    document = answer.document or {}
    error = document.get("error")
    if error is None:
        return None
    members = members_of(error)
    code = text_of(members_of(members.get("data")), "error") or (error if isinstance(error, str) else "")
    quoted = clean_text(text_of(members or document, "message"))
    if code.startswith("server_") or answer.status == 502:
        return _found(
            "server_failed",
            f"The gateway could not start the server of this package, or lost it: {quoted}",
            "Run: fluidmcp run FILE, which starts each server once and shows the last lines of its errors.",
        )
    return _found(
        "call_refused",
        f"The call was answered with an error: {quoted or code}",
        "Do what it says, or see the log of the gateway.",
    )
