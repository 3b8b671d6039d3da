"""Calls of stateless-era clients, and those among them that wait for somebody's answers.

A server of the handshake era asks in the middle of a call (`elicitation/create`, `sampling/createMessage`,
`roots/list`). A client of the stateless era is asked by the answer to its request, and answers with a retry
(2026-07-28, "Multi Round-Trip Requests"). Between the two the call is suspended: the server waits, no HTTP request is
open, and the client holds a sealed state by which its retry finds the call again.
"""

import asyncio
import contextlib
import re
import secrets
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, cast

import msgspec
from msgspec import UNSET, Raw

from fluidmcp.authentication.principal import Principal
from fluidmcp.bridge.channel import Channel
from fluidmcp.bridge.exchange import Exchange
from fluidmcp.bridge.session import CancelledByClientError
from fluidmcp.crypto.sealing import Sealer
from fluidmcp.errors import CapacityError, ServerExitedError, ServerTimeoutError
from fluidmcp.protocol.input_required import (
    ELICITATION,
    InputRequest,
    digest_params,
    encode_input_required,
    fits_response,
    has_capability,
    missing_capability,
    read_input_responses,
    read_url_elicitations,
    required_capability,
)
from fluidmcp.protocol.jsonrpc import INTERNAL_ERROR, INVALID_PARAMS, METHOD_NOT_FOUND, Envelope, Json
from fluidmcp.protocol.objects import read_text
from fluidmcp.protocol.stateless import StatelessError, StatelessRequest
from fluidmcp.protocol.translate import INPUT_METHODS, to_stateless_error, to_stateless_result

MAX_SUSPENDED_CALLS: Final = 1000
MAX_SUSPENDED_CALLS_PER_OWNER: Final = 20
SUSPENDED_SECONDS: Final = 600.0
"""How long a person may take to answer a server's questions."""

GATHER_SECONDS: Final = 0.02
"""How long after its first question a server's further ones still go into the same round."""

MAX_OPEN_QUESTIONS: Final = 100
"""Questions of one call that may be unanswered at a time."""

_REPLICA: Final = re.compile(r"[a-z0-9-]{1,32}\.(?=fmcp1\.)", re.ASCII)
_PURPOSE: Final = "request-state"
_HANDLE_BYTES: Final = 16
_MILLISECONDS: Final = 1000


@dataclass(slots=True)
class _Question:
    server_id: Json
    request: InputRequest
    is_asked: bool = False
    """Whether the client knows it; one that came in while the call was suspended is asked in the next round."""


class RunningCall:
    """One call in one server process, over all its rounds of questions and answers.

    `exchange` is that of the HTTP request which waits now or, while `is_suspended`, the one that the next will read.
    `request` is the latest of the client's requests. `on_end` is called once, when nothing uses the process any more.
    """

    __slots__ = (
        "_channel",
        "_early_responses",
        "_is_over",
        "_on_end",
        "_questions",
        "_server_info",
        "_suspended",
        "_timer",
        "exchange",
        "is_suspended",
        "principal",
        "request",
    )

    def __init__(
        self,
        channel: Channel,
        exchange: Exchange,
        request: StatelessRequest,
        principal: Principal | None,
        *,
        server_info: Raw | None,
        early_responses: Mapping[str, Raw],
        suspended: "SuspendedCalls",
        on_end: Callable[["RunningCall"], None],
    ) -> None:
        """`server_info` names a server of the handshake era, whose results do not.

        `early_responses` came with the first request: they answer questions to which the server gives those names.
        """
        self.exchange = exchange
        self.request = request
        self.principal = principal
        """Who began the call; a retry may come with another token of the same person."""
        self.is_suspended = False
        self._channel = channel
        self._server_info = server_info
        self._suspended = suspended
        self._on_end = on_end
        self._questions: dict[str, _Question] = {}
        self._early_responses = dict(early_responses)
        self._timer: asyncio.TimerHandle | None = None
        self._is_over = False
        if channel.era == "handshake":
            exchange.translate = self._translate

    @property
    def package(self) -> str:
        return self._channel.package

    def receive_question(self, question: Envelope) -> bool:
        """Take a question of the server; False: no client is ever asked that, or nobody waits for this call."""
        request = InputRequest(cast(str, question.method), question.params)
        required = required_capability(request.method, request.params)
        if required is None or self.exchange.is_done or len(self._questions) >= MAX_OPEN_QUESTIONS:
            return False
        server_id = bytes(cast(Raw, question.id))
        if not has_capability(self.request.capabilities, required):
            self._channel.refuse_question(server_id, METHOD_NOT_FOUND, "The client did not declare that capability.")
            self._refuse(missing_capability(required))
            return True
        key = self._choose_key(server_id)
        response = self._early_responses.pop(key, None)
        # A number identifies no question: in another call it may have belonged to a different one.
        if response is not None and server_id[:1] == b'"' and fits_response(request.method, response):
            self._channel.answer_question(server_id, Envelope(result=response))
            return True
        self._questions[key] = _Question(server_id, request)
        self._gather()
        return True

    def withdraw(self, server_id: Json) -> None:
        """Forget a question that the server does not ask any more."""
        keys = [key for key, question in self._questions.items() if question.server_id == server_id]
        for key in keys:
            del self._questions[key]
        if keys and not self._questions and not self.is_suspended:
            self._stop_gathering()
            self._start_clock()

    def match_responses(self, responses: Mapping[str, Raw]) -> dict[str, Raw]:
        """The responses that answer something, by the key of the question.

        Unknown keys are ignored, except that a lone response answers a lone question which it fits.

        Raises:
            StatelessError: -32602 with 400, when one has not the form that its question asks for.
        """
        asked = {key: question.request.method for key, question in self._questions.items() if question.is_asked}
        matched = {key: responses[key] for key in asked if key in responses}
        for key, response in matched.items():
            if not fits_response(asked[key], response):
                raise _invalid(f"The response {key} is none to {asked[key]}.")
        if not matched and len(asked) == len(responses) == 1:
            (key, method), response = next(iter(asked.items())), next(iter(responses.values()))
            return {key: response} if fits_response(method, response) else {}
        return matched

    def resume(self, request: StatelessRequest, responses: Mapping[str, Raw], *, wants_notifications: bool) -> None:
        """Hand the matched responses to the server; `exchange` is that of the retry from here on.

        What is still unanswered is asked again.
        """
        self.is_suspended = False
        self.request = request
        token = request.meta.get("progressToken")
        self.exchange.client_token = None if token is None else bytes(token)
        self.exchange.wants_notifications = wants_notifications
        for key, response in responses.items():
            self._channel.answer_question(self._questions.pop(key).server_id, Envelope(result=response))
        if self._questions:
            self._gather()
        else:
            self._start_clock()

    def finish(self, exchange: Exchange) -> None:
        """The HTTP request of `exchange` has its reply. A call that goes on in a further exchange is not affected."""
        if exchange is self.exchange and not self.is_suspended:
            self.end()

    def cancel(self, exchange: Exchange) -> None:
        """The client of `exchange` went away, which cancels its call (2026-07-28, "Cancellation")."""
        if exchange is self.exchange and not self.is_suspended:
            self.end()
            exchange.fail(CancelledByClientError("The request has been cancelled."))

    def receive_exit(self) -> None:
        """The process is gone. A retry still learns it from the exchange."""
        self._questions.clear()
        self._stop_gathering()
        if self.is_suspended:
            self.end()

    def expire(self) -> None:
        """Nobody answered in time."""
        self.end()
        self.exchange.fail(ServerTimeoutError("The questions of the server were not answered in time."))

    def end(self) -> None:
        """Tell the server that nobody waits, unless it has answered, and give the process back. Once is enough."""
        if self._is_over:
            return
        self._is_over = True
        self._drop_questions()
        self._cancel_request()
        self._on_end(self)

    def _choose_key(self, server_id: Json) -> str:
        """The key of a question for the client: the server's own name of it, which means something to some."""
        name = key = read_text(server_id) or server_id.decode()
        number = 1
        while key in self._questions:
            number += 1
            key = f"{name}-{number}"
        return key

    def _gather(self) -> None:
        if self._timer is None and not self.is_suspended:
            self._timer = asyncio.get_running_loop().call_later(GATHER_SECONDS, self._ask)

    def _stop_gathering(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ask(self) -> None:
        """Answer the HTTP request with all open questions; the server's own answer is for its retry."""
        self._timer = None
        asking = self.exchange
        if asking.is_done:
            return
        try:
            request_state = self._suspended.add(self)
        except CapacityError as error:
            self._drop_questions()
            self._cancel_request()
            asking.fail(error)
            return
        following = Exchange(asking.wire_id, asking.method, client_token=None, wants_notifications=False)
        following.translate = self._translate
        self._channel.hand_over(asking, following)
        self.exchange = following
        self.is_suspended = True
        for question in self._questions.values():
            question.is_asked = True
        requests = {key: question.request for key, question in self._questions.items()}
        asking.feed(Envelope(result=Raw(encode_input_required(requests, request_state, self._server_info))))

    def _translate(self, answer: Envelope) -> Envelope:
        self._drop_questions()
        if self.is_suspended:
            self.end()
        if answer.error is UNSET:
            result = to_stateless_result(self.request.method, cast(Raw, answer.result), self._server_info)
            return Envelope(id=answer.id, result=Raw(result))
        requests = read_url_elicitations(answer.error) if self.request.method in INPUT_METHODS else None
        if requests is None:
            return Envelope(id=answer.id, error=Raw(to_stateless_error(answer.error, self.request.method)))
        for request in requests.values():
            required = required_capability(ELICITATION, request.params)
            if required is not None and not has_capability(self.request.capabilities, required):
                return _encode_refusal(missing_capability(required))
        # Without a state: the server has ended the call, and the retry is a new one.
        return Envelope(id=answer.id, result=Raw(encode_input_required(requests, None, self._server_info)))

    def _refuse(self, error: StatelessError) -> None:
        self._drop_questions()
        self._cancel_request()
        self.exchange.feed(_encode_refusal(error))
        if self.is_suspended:
            self.end()

    def _start_clock(self) -> None:
        """The server's time counts again, from the beginning, as nobody is asked anything."""
        if not self.exchange.is_done:
            self._channel.start_clock(self.exchange)

    def _cancel_request(self) -> None:
        # A server that is gone, or does not read, works on nothing for us.
        with contextlib.suppress(ServerExitedError, CapacityError):
            self._channel.cancel(self.exchange)

    def _drop_questions(self) -> None:
        self._stop_gathering()
        questions, self._questions = self._questions, {}
        for question in questions.values():
            self._channel.refuse_question(question.server_id, INTERNAL_ERROR, "Nobody answers that any more.")


class _Waiting(NamedTuple):
    call: RunningCall
    timer: asyncio.TimerHandle


class SuspendedCalls:
    """The calls that wait for a retry, bounded in all and per person; `now` gives seconds since the epoch.

    Their states begin with `replica`, where there is one, so that a balancer can find the gateway in which they wait.
    """

    def __init__(
        self,
        sealer: Sealer,
        *,
        max_calls: int = MAX_SUSPENDED_CALLS,
        max_calls_per_owner: int = MAX_SUSPENDED_CALLS_PER_OWNER,
        lifetime_seconds: float = SUSPENDED_SECONDS,
        replica: str = "",
        now: Callable[[], float] = time.time,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._sealer = sealer
        self._prefix = replica and f"{replica}."
        self._max_calls = max_calls
        self._max_calls_per_owner = max_calls_per_owner
        self._lifetime_seconds = lifetime_seconds
        self._now = now
        self._random_bytes = random_bytes
        self._waiting: dict[bytes, _Waiting] = {}
        self._count_by_owner: Counter[tuple[str, str, str]] = Counter()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, call: RunningCall) -> str:
        """Keep a call until its retry comes, or its time is over; the state that the retry has to bring.

        Raises:
            CapacityError: as many calls wait as may, in all or of this person.
        """
        owner = None if call.principal is None else call.principal.owner
        is_own_limit = owner is not None and self._count_by_owner[owner] >= self._max_calls_per_owner
        if is_own_limit or len(self._waiting) >= self._max_calls:
            raise CapacityError(
                "The server asks something, and no further call can wait for answers now.",
                why="You have as many of them as one caller may." if is_own_limit else "The gateway is full.",
                hint="Answer the open questions, or wait until their time is over.",
                retry_after_seconds=60,
            )
        handle = self._random_bytes(_HANDLE_BYTES)
        timer = asyncio.get_running_loop().call_later(self._lifetime_seconds, self._expire, handle)
        self._waiting[handle] = _Waiting(call, timer)
        if owner is not None:
            self._count_by_owner[owner] += 1
        expires_at = int((self._now() + self._lifetime_seconds) * _MILLISECONDS)
        context = _build_context(call.package, call.principal, call.request)
        return self._prefix + self._sealer.seal(_PURPOSE, context, handle + expires_at.to_bytes(8, "big"))

    def resume(
        self, package: str, request: StatelessRequest, principal: Principal | None, *, wants_notifications: bool
    ) -> RunningCall | None:
        """The call that a retry continues, its answers handed to the server. None: the retry's state is not from here.

        A state opens only for the package, the person, the method and the params that it was made for.

        Raises:
            StatelessError: -32602 with 400: the call does not wait (any more), the token may do less than the one
                that began it, or an answer is malformed; then the call goes on waiting.
        """
        request_state = read_text(request.members.get("requestState"))
        if request_state is None:
            return None
        # Also one of another replica: its call waits there, and nobody else is to see the state.
        sealed = _REPLICA.sub("", request_state, count=1)
        opened = self._sealer.open(_PURPOSE, _build_context(package, principal, request), sealed)
        if opened is None:
            return None
        handle, expires_at = opened[:_HANDLE_BYTES], int.from_bytes(opened[_HANDLE_BYTES:], "big")
        waiting = self._waiting.get(handle)
        if waiting is None or self._now() * _MILLISECONDS >= expires_at:
            raise _invalid(
                "The requestState is of a call that has been continued, waited too long, or waits in another gateway."
            )
        call = waiting.call
        if call.principal is not None and (principal is None or not call.principal.scopes <= principal.scopes):
            raise _invalid("The call was begun with a token that may do more.")
        responses, _ = read_input_responses(request.members)
        matched = call.match_responses(responses or {})
        self._take(handle)
        call.resume(request, matched, wants_notifications=wants_notifications)
        return call

    def end_those(self, is_meant: Callable[[str, Principal], bool]) -> None:
        """End the calls of whoever is meant, by package and person."""
        for handle, (call, _) in list(self._waiting.items()):
            if call.principal is not None and is_meant(call.package, call.principal):
                self._expire(handle)

    def close(self) -> None:
        """End all of them."""
        for handle in list(self._waiting):
            self._expire(handle)

    def _take(self, handle: bytes) -> RunningCall:
        call, timer = self._waiting.pop(handle)
        timer.cancel()
        if call.principal is not None:
            self._count_by_owner[call.principal.owner] -= 1
            if not self._count_by_owner[call.principal.owner]:
                del self._count_by_owner[call.principal.owner]
        return call

    def _expire(self, handle: bytes) -> None:
        self._take(handle).expire()


def _build_context(package: str, principal: Principal | None, request: StatelessRequest) -> list[str | bytes]:
    owner = () if principal is None else principal.owner
    return [package, *owner, request.method, digest_params(request.params)]


def _invalid(what: str) -> StatelessError:
    return StatelessError(INVALID_PARAMS, 400, what)


def _encode_refusal(error: StatelessError) -> Envelope:
    """A refusal in place of the server's answer."""
    members: dict[str, object] = {"code": error.rpc_code, "message": error.what}
    if error.data is not None:
        members["data"] = error.data
    return Envelope(error=Raw(msgspec.json.encode(members)))
