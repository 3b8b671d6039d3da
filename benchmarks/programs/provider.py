"""The development provider of `fluidmcp demo`, by itself: who logs in at it is made up, and it answers loopback alone.

python provider.py PORT REDIRECT_URI CLIENT_ID CLIENT_SECRET
"""

import sys

import uvicorn

from fluidmcp.config.secret import Secret
from fluidmcp.demo.provider import create_provider
from fluidmcp.demo.registration import Registration


def main(port: int, redirect_uri: str, client_id: str, client_secret: str) -> None:
    registration = Registration(
        port=port, redirect_uri=redirect_uri, client_id=client_id, client_secret=Secret(client_secret)
    )
    uvicorn.run(create_provider(registration), host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:5])
