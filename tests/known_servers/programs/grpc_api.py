"""gRPC calls, handed on to the stub as plain requests: `grpc_api.py CERTIFICATE STUB HOST`, which writes its port.

It runs in the environment of the server that is tried, which has gRPC. Each call becomes a POST of the same name with
its metadata as headers, and the JSON object that comes back a message: its texts are the fields 1, 2 and 3 of the one
member of field 1.
"""
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false

import json
import sys
import urllib.request
from concurrent import futures

import grpc

CERTIFICATE, STUB, HOST = sys.argv[1:]
LIMIT_SECONDS = 100
# As a proxy the stub hears which host was meant.
opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": STUB}))


def field(number: int, value: bytes) -> bytes:
    """A field of the type "length-delimited", as protocol buffers write it; of less than 128 bytes."""
    return bytes([number << 3 | 2, len(value)]) + value


class Api(grpc.GenericRpcHandler):
    def service(self, details):
        headers = {name: value for name, value in details.invocation_metadata if isinstance(value, str)}

        def answer(_request, context):
            request = urllib.request.Request(f"http://{HOST}{details.method}", data=b"", headers=headers, method="POST")
            with opener.open(request, timeout=LIMIT_SECONDS) as response:
                texts = json.load(response).values()
            return field(1, b"".join(field(number, text.encode()) for number, text in enumerate(texts, 1)))

        return grpc.unary_unary_rpc_method_handler(answer)


def main() -> None:
    with open(CERTIFICATE, "rb") as file:
        pem = file.read()
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4), handlers=[Api()])
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(pem, pem)]))
    server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    # Until the test closes the pipe.
    sys.stdin.read()
    server.stop(None)


main()
