"""What the routes of pages have in common."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from fluidmcp.errors import FluidMCPError
from fluidmcp.gateway.login.browsing import PROTECTIVE_HEADERS
from fluidmcp.pages.consent import problem_response

_Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class PageRoute(APIRoute):
    """Failures are pages; no answer is kept or framed by anybody."""

    def get_route_handler(self) -> _Handler:
        handle = super().get_route_handler()

        async def handle_page(request: Request) -> Response:
            try:
                response = await handle(request)
            except FluidMCPError as error:
                response = problem_response(error)
            for name, value in PROTECTIVE_HEADERS.items():
                response.headers.setdefault(name, value)
            return response

        return handle_page
