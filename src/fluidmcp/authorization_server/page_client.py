"""The gateway's own page as an OAuth client: public, known to each package, with one redirect URI that never varies."""

from typing import Final
from urllib.parse import urlsplit

from fluidmcp.authorization_server.clients import Client

PAGE: Final = "-"
"""Stands in paths for the page itself; no package can have this name."""
PAGE_CLIENT_ID: Final = "fluidmcp-page"
CALLBACK_PATH: Final = f"/{PAGE}/callback"


def build_page_client(public_url: str) -> Client:
    """The client. Its host vouches for it: it is the gateway's own."""
    return Client(
        client_id=PAGE_CLIENT_ID,
        kind="page",
        name="The page of this gateway",
        redirect_uris=(public_url + CALLBACK_PATH,),
        host=urlsplit(public_url).netloc,
    )
