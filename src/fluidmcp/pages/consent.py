"""From a client's request to the pages that a person sees."""

import datetime
import math
from collections.abc import Mapping

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from fluidmcp.authorization_server.authorization_server import AuthorizationServer
from fluidmcp.authorization_server.authorize import AuthorizationRequest, ReturnError
from fluidmcp.authorization_server.page_client import PAGE, PAGE_CLIENT_ID
from fluidmcp.config.redirects import describe_redirect, redirect_kind
from fluidmcp.errors import (
    FluidMCPError,
    ForbiddenError,
    LoginError,
    OAuthError,
    ProviderAnswerError,
    ProviderUnavailableError,
    RequestError,
    StoreUnavailableError,
    UnauthorizedError,
)
from fluidmcp.pages.render import (
    ConsentView,
    HtmlPage,
    RememberedItem,
    render_consent,
    render_onward,
    render_problem,
    render_remembered,
)


def consent_response(
    authorization_server: AuthorizationServer,
    asked: AuthorizationRequest,
    *,
    field: str,
    gateway: str,
    scope_texts: Mapping[str, str],
) -> Response:
    """The page that asks. `field` is the sealed request, `gateway` the host that people know the gateway by."""
    view = ConsentView(
        package=_show_package(authorization_server),
        is_gateway=authorization_server.package == PAGE,
        gateway=gateway,
        client_name=asked.client_name,
        client_host=asked.client_host,
        redirect=describe_redirect(asked.redirect_uri),
        redirect_kind="page" if asked.client_id == PAGE_CLIENT_ID else redirect_kind(asked.redirect_uri),
        scopes=asked.scopes,
        scope_texts=scope_texts,
        sign_ins=tuple(upstream.sign_in_host for upstream in authorization_server.upstreams.each),
        action=f"{authorization_server.path}/consent",
        request=field,
        can_remember=authorization_server.consents.can_remember(asked),
        remembered_path=f"{authorization_server.path}/consent/remembered",
    )
    return respond(render_consent(view))


def remembered_response(
    authorization_server: AuthorizationServer, cookies: Mapping[str, str], *, gateway: str
) -> Response:
    """The list of what this browser remembers."""
    items = [
        RememberedItem(
            id=one.cookie_name,
            client_name=one.client_name,
            redirect=describe_redirect(one.redirect_uri),
            scopes=one.scopes,
            until=datetime.datetime.fromtimestamp(one.ends_at, datetime.UTC).date().isoformat(),
        )
        for one in sorted(
            authorization_server.consents.list_remembered(cookies), key=lambda one: (one.client_name, one.ends_at)
        )
    ]
    action = f"{authorization_server.path}/consent/remembered"
    package = _show_package(authorization_server)
    return respond(render_remembered(package=package, gateway=gateway, items=items, action=action))


def _show_package(authorization_server: AuthorizationServer) -> str:
    return "this gateway" if authorization_server.package == PAGE else authorization_server.package


def program_response(location: str, request: Request) -> Response:
    """Back to the client that waits for its code at `location`."""
    place = describe_redirect(location)
    if redirect_kind(location) == "private":
        place = f"the program that opens {place} links"
    return onward_response(location, request, place=place, title="Back to the program", is_last=True)


def onward_response(location: str, request: Request, *, place: str, title: str, is_last: bool = False) -> Response:
    """After a provider's callback: on to `location`.

    A browser gets a page that goes there: the redirect of a callback is still part of the form that the provider's page
    sent, and Chromium applies that page's `form-action` to it, which names our host at most. Programs get a redirect.
    """
    if request.headers.get("sec-fetch-mode") != "navigate":
        return RedirectResponse(location, status_code=302)
    return respond(render_onward(location, title=title, place=place, is_last=is_last))


def refusal_response(error: ReturnError, request: Request) -> Response:
    """A request that goes back to its client.

    Anybody can register a website: a browser goes to one only when the person there says so, or this would send people
    wherever a link wants (RFC 9700 section 4.11.2). Programs get a redirect, and so does whatever runs on the device.
    """
    is_website = redirect_kind(error.location) == "https"
    if request.headers.get("sec-fetch-mode") != "navigate" or not is_website:
        return RedirectResponse(error.location, status_code=302)
    page = render_onward(
        error.location,
        title="The program's request is not in order",
        text=error.description,
        place=describe_redirect(error.location),
        goes_by_itself=False,
    )
    return respond(page)


def problem_response(error: FluidMCPError) -> Response:
    """A failure, told to the person in the browser."""
    status = 500
    match error:
        case OAuthError(status=status) | LoginError(status=status) | RequestError(status=status):
            pass
        case UnauthorizedError():
            status = 401
        case ForbiddenError():
            status = 403
        case ProviderAnswerError():
            status = 502
        case ProviderUnavailableError() | StoreUnavailableError():
            status = 503
        case _:
            pass
    page = render_problem(title=error.what.rstrip("."), text=error.why, hint=error.hint, status=status)
    response = respond(page)
    if isinstance(error, StoreUnavailableError):
        response.headers["Retry-After"] = str(math.ceil(error.retry_after_seconds))
    return response


def respond(page: HtmlPage) -> Response:
    """The answer that is this page."""
    response = Response(page.body, status_code=page.status)
    for name, value in page.headers:
        response.headers[name] = value
    return response
