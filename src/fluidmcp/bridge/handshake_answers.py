"""Answers for clients of the handshake era that do not come from a server as they are."""

from typing import Final, cast

import msgspec
from msgspec import UNSET, Raw

from fluidmcp.bridge.exchange import Exchange
from fluidmcp.protocol.jsonrpc import Envelope
from fluidmcp.protocol.translate import to_handshake_error, to_handshake_result

EMPTY: Final = Envelope(id=Raw(b"null"), result=Raw(b"{}"))
"""The answer of methods that have nothing to say."""


def to_handshake_answer(answer: Envelope) -> Envelope:
    if answer.error is not UNSET:
        return Envelope(id=answer.id, error=Raw(to_handshake_error(answer.error)))
    return Envelope(id=answer.id, result=Raw(to_handshake_result(cast(Raw, answer.result))))


def answer_here(method: str, answer: Envelope) -> Exchange:
    """An exchange that is done: the server has no part in it."""
    exchange = Exchange(0, method, client_token=None, wants_notifications=False)
    exchange.feed(answer)
    return exchange


def build_error(code: int, message: str) -> Envelope:
    return Envelope(id=Raw(b"null"), error=Raw(msgspec.json.encode({"code": code, "message": message})))
