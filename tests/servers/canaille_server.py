"""The real `canaille`, which keeps everything in memory: one client, some people. `canaille_server.py JSON`.

It runs in the environment of its own (.parts/canaille), not in that of the tests. Its port is chosen by the system and
printed as one JSON line; it ends when its stdin ends.
"""
# pyright: basic, reportMissingImports=false

import json
import socket
import sys
import threading

from canaille import create_app
from canaille.app import models
from canaille.backends import Backend
from werkzeug.serving import make_server


def main() -> None:
    given = json.loads(sys.argv[1])
    listener = socket.create_server(("127.0.0.1", 0))
    name = f"127.0.0.1:{listener.getsockname()[1]}"
    app = create_app(
        {
            "SECRET_KEY": "only for tests",
            "SERVER_NAME": name,
            "PREFERRED_URL_SCHEME": "http",
            "CANAILLE": {"DATABASE": "memory", "SMTP": None},
            # Not every client has one to send; those that do are served as by default.
            "CANAILLE_OIDC": {"REQUIRE_NONCE": False},
        }
    )
    with app.app_context(), Backend.instance.session():
        for person in given["people"]:
            Backend.instance.save(models.User(**person))
        client = models.Client(**given["client"])
        Backend.instance.save(client)
        # Without itself among its audience a client may not introspect its own tokens.
        client.audience = [client]
        Backend.instance.save(client)
    server = make_server("127.0.0.1", 0, app, threaded=True, fd=listener.detach())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(json.dumps({"issuer": f"http://{name}"}) + "\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
