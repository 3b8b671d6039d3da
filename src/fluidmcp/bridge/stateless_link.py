"""A handshake-era client with a server of the stateless era (2026-07-28), which knows neither handshake nor session.

Each request repeats in its `_meta` what the client said once. This module answers what that revision no longer has. Its
servers send no questions: they answer that they need input, so the client is asked and the request is sent again.
"""

import asyncio
import secrets
from collections.abc import Mapping
from functools import partial
from typing import Final, cast

import msgspec
from msgspec import UNSET, Raw, UnsetType

from fluidmcp.bridge.changes import CHANGES
from fluidmcp.bridge.channel import Channel
from fluidmcp.bridge.exchange import Exchange
from fluidmcp.bridge.handshake_answers import EMPTY, answer_here, build_error, to_handshake_answer
from fluidmcp.bridge.handshake_link import QUESTION_SECONDS
from fluidmcp.bridge.session import Session
from fluidmcp.bridge.session_subscription import SessionSubscription
from fluidmcp.bridge.start import GATEWAY_INFO, NO_CAPABILITIES
from fluidmcp.errors import FluidMCPError, ServerExitedError, ServerProcessError
from fluidmcp.protocol.input_required import (
    ELICITATION,
    InputRequest,
    InputRequired,
    has_capability,
    read_input_required,
    required_capability,
    with_input_responses,
)
from fluidmcp.protocol.jsonrpc import INTERNAL_ERROR, INVALID_PARAMS, METHOD_NOT_FOUND, Envelope, Json
from fluidmcp.protocol.objects import add_members, is_object, read_object, read_text, without_members, write_object
from fluidmcp.protocol.stateless import LOG_LEVELS, StatelessError
from fluidmcp.protocol.translate import (
    SUBSCRIPTION_ID,
    to_initialize_result,
    with_stateless_meta,
)
from fluidmcp.protocol.versions import HANDSHAKE_VERSIONS, LATEST_HANDSHAKE_VERSION, STATELESS_VERSIONS

MAX_ROUNDS: Final = 20
"""How often a server may ask before it answers one request."""

FIRST_DELAY_SECONDS: Final = 0.05
MAX_DELAY_SECONDS: Final = 5.0
"""How long to wait before sending a request again when its server asks nothing and only wants to be called later."""

LOG_LINE: Final = "notifications/message"

DROPPED: Final = frozenset({"notifications/initialized", "notifications/roots/list_changed", "notifications/progress"})
"""Notifications of a client that the stateless era does not have."""

_CANCELLED_BY_USER: Final = Raw(b'{"action":"cancel"}')


def send_bare_request(
    channel: Channel,
    method: str,
    params: Raw | UnsetType,
    *,
    mentions_progress: bool,
    wants_notifications: bool,
) -> Exchange:
    """Send the request of a caller without any handshake, who can be asked nothing, to a stateless-era server.

    Raises:
        ServerExitedError, CapacityError: as the channel does.
    """
    if method == "ping":
        return answer_here(method, EMPTY)
    exchange = channel.send_request(
        method,
        _with_client(params, NO_CAPABILITIES, GATEWAY_INFO),
        mentions_progress=mentions_progress,
        wants_notifications=wants_notifications,
    )
    exchange.translate = _translate_bare
    return exchange


class StatelessLink:
    """What one session has with one server process; a later process of the session takes over what it subscribed to."""

    def __init__(self, session: Session, channel: Channel, *, question_seconds: float = QUESTION_SECONDS) -> None:
        """`question_seconds`: how long the client may take for the questions of one round."""
        self.channel = channel
        self.session = session
        self.question_seconds = question_seconds
        initialize_params = read_object(session.initialize_params) or {}
        self._requested_version = read_text(initialize_params.get("protocolVersion"))
        self.capabilities = _read_capabilities(initialize_params)
        """What the client declared, as the stateless era knows it: a JSON object."""
        client_info = initialize_params.get("clientInfo")
        self._client_info = client_info if is_object(client_info) else None
        self.waiting: dict[Exchange, _Call] = {}
        """Requests whose server waits for the client, or wants to be called again."""
        previous = session.link if isinstance(session.link, StatelessLink) else None
        self._log_level = None if previous is None else previous._log_level
        self._subscription = SessionSubscription(
            session, channel, self._describe_listener, None if previous is None else previous._subscription
        )
        channel.listener = self

    def build_initialize_answer(self) -> Envelope:
        """From the server's answer to `server/discover`; the client's revision where it is known, else the latest."""
        known = self._requested_version in HANDSHAKE_VERSIONS
        version = cast(str, self._requested_version) if known else LATEST_HANDSHAKE_VERSION
        greeting = cast(Envelope, self.channel.greeting)
        return Envelope(id=Raw(b"null"), result=Raw(to_initialize_result(cast(Raw, greeting.result), version)))

    def send_request(
        self, method: str, params: Raw | UnsetType, *, mentions_progress: bool, wants_notifications: bool
    ) -> Exchange:
        self._subscription.begin()
        match method:
            case "ping":
                return answer_here(method, EMPTY)
            case "logging/setLevel":
                return answer_here(method, self._set_log_level(params))
            case "resources/subscribe" | "resources/unsubscribe":
                return self._change_subscription(method, params)
            case "subscriptions/listen":
                return answer_here(method, build_error(METHOD_NOT_FOUND, f"Method not found: {method}"))
            case _:
                described = self._describe_client(params)
                exchange = self.channel.send_request(
                    method, described, mentions_progress=mentions_progress, wants_notifications=wants_notifications
                )
                if not exchange.is_done:  # the two hold each other until the server has answered
                    exchange.translate = _Call(self, exchange, described, mentions_progress).translate
                return exchange

    def send_notification(self, method: str, params: Raw | UnsetType) -> None:
        if method == "notifications/initialized":
            self._subscription.begin()
        elif method not in DROPPED:
            self.channel.send_notification(method, params)

    def cancel(self, exchange: Exchange, params: Raw | UnsetType) -> None:
        call = self.waiting.get(exchange)
        if call is None:
            self.channel.cancel(exchange, params)
        else:
            # The server has answered, so there is nothing that it could stop.
            call.drop()

    def receive_question(self, question: Envelope) -> bool:
        """Servers of the stateless era send no requests (2026-07-28, "stdio")."""
        return False

    def receive_notification(self, notification: Envelope) -> None:
        """A notification that names no open subscription; log lines only reach a client that has chosen a level."""
        method = notification.method
        if method == LOG_LINE:
            if self._log_level is not None:
                self.session.tell(notification, is_related=True)
        elif _names_subscription(notification.params):
            self._subscription.receive_late(notification)
        else:
            self.session.tell(notification, is_related=method not in CHANGES)

    def receive_exit(self) -> None:
        for call in tuple(self.waiting.values()):
            call.fail(
                ServerExitedError(
                    f"The server {self.channel.package} ended while its client was asked something.",
                    why=f"Its process went away: {self.channel.exit_description}.",
                    hint="Send the request again; a new process is started for it.",
                )
            )

    def _describe_client(self, params: Raw | UnsetType) -> Json:
        return _with_client(params, self.capabilities, self._client_info, self._log_level)

    def _describe_listener(self, params: Json) -> Json:
        # Log lines belong to requests that work on something (2026-07-28, "Logging").
        return _with_client(params, self.capabilities, self._client_info)

    def _set_log_level(self, params: Raw | UnsetType) -> Envelope:
        level = read_text((read_object(params) or {}).get("level"))
        if level not in LOG_LEVELS:
            return build_error(INVALID_PARAMS, f"The level must be one of {', '.join(LOG_LEVELS)}.")
        self._log_level = level
        return EMPTY

    def _change_subscription(self, method: str, params: Raw | UnsetType) -> Exchange:
        text = (read_object(params) or {}).get("uri")
        uri = read_text(text)
        if not self._subscription.has_resources:
            return answer_here(method, build_error(METHOD_NOT_FOUND, "The server has no resource subscriptions."))
        if text is None or uri is None:
            return answer_here(method, build_error(INVALID_PARAMS, "The member uri must be a string."))
        return self._subscription.change(uri, bytes(text) if method == "resources/subscribe" else None)


class _Call:
    """One request of the client: a round for each time that its server answers with questions."""

    __slots__ = (
        "_channel",
        "_delay_seconds",
        "_exchange",
        "_link",
        "_mentions_progress",
        "_open",
        "_params",
        "_request_state",
        "_responses",
        "_round_count",
        "_timer",
        "_waited_seconds",
    )

    def __init__(self, link: StatelessLink, exchange: Exchange, params: Json, mentions_progress: bool) -> None:
        self._link = link
        self._channel = link.channel
        self._exchange = exchange
        self._params = params
        self._mentions_progress = mentions_progress
        self._open: dict[str, tuple[Json, str]] = {}
        """By the server's key of each open question: the id under which the client has it, and its method."""
        self._responses: dict[str, Raw] = {}
        self._request_state: Raw | None = None
        self._round_count = 0
        self._delay_seconds = FIRST_DELAY_SECONDS
        self._waited_seconds = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def translate(self, answer: Envelope) -> Envelope | None:
        """The server's answer as the client's; None when the server asks something first."""
        try:
            needed = None if answer.error is not UNSET else read_input_required(cast(Raw, answer.result))
        except StatelessError as error:
            self._exchange.translate = None
            return build_error(error.rpc_code, error.what)
        if needed is None:
            # The exchange and this call hold each other; whoever is done lets go.
            self._exchange.translate = None
            return to_handshake_answer(answer)
        self._begin_round(needed)
        return None

    def drop(self) -> None:
        """Stop waiting: withdraw what the client is asked, and send nothing again."""
        self._link.waiting.pop(self._exchange, None)
        self._stop_timer()
        opened, self._open = self._open, {}
        for question_id, _ in opened.values():
            self._link.session.withdraw(question_id)

    def fail(self, failure: FluidMCPError) -> None:
        self.drop()
        self._exchange.translate = None
        self._exchange.fail(failure)

    def _begin_round(self, needed: InputRequired) -> None:
        """Ask everything at once; the request timeout does not count while a person is asked."""
        if self._exchange.is_done:
            return
        self._channel.stop_clock(self._exchange)
        self._link.waiting[self._exchange] = self
        self._request_state = needed.request_state
        self._responses = {}
        if not needed.requests:
            self._wait()
            return
        self._delay_seconds = FIRST_DELAY_SECONDS
        self._waited_seconds = 0.0
        self._round_count += 1
        if self._round_count > MAX_ROUNDS:
            self._give_up(f"The server asked for input more than {MAX_ROUNDS} times.")
            return
        for key, request in needed.requests.items():
            question_id = self._ask(key, request)
            if question_id is not None:
                self._open[key] = (question_id, request.method)
            elif not self._refuse(key, request.method):
                return
        if self._open:
            self._timer = asyncio.get_running_loop().call_later(self._link.question_seconds, self._refuse_open)
        else:
            self._send_again()

    def _ask(self, key: str, request: InputRequest) -> Json | None:
        """The id of the question; None when this client cannot be asked that, or has too many questions open."""
        required = required_capability(request.method, request.params)
        if required is None or not has_capability(self._link.capabilities, required):
            return None
        receive = partial(self._receive_response, key, request.method)
        question = _to_handshake_question(request)
        return self._link.session.ask(request.method, question, receive, exchange=self._exchange)

    def _receive_response(self, key: str, method: str, answer: Envelope) -> None:
        self._open.pop(key, None)
        if answer.error is UNSET:
            self._responses[key] = cast(Raw, answer.result)
        elif not self._refuse(key, method):
            return
        if not self._open:
            self._send_again()

    def _refuse_open(self) -> None:
        """The time to answer is over."""
        opened, self._open = self._open, {}
        for key, (question_id, method) in opened.items():
            self._link.session.withdraw(question_id)
            if method == ELICITATION:
                self._responses[key] = _CANCELLED_BY_USER
        if all(method == ELICITATION for _, method in opened.values()):
            self._send_again()
        else:
            self._give_up("The client did not answer the server's question in time.")

    def _refuse(self, key: str, method: str) -> bool:
        """Tell the server that a form was not filled in. Other questions have no such answer, so the call ends."""
        if method == ELICITATION:
            self._responses[key] = _CANCELLED_BY_USER
            return True
        self._give_up(f"The server needs an answer to {method[:100]}, which the client cannot give or refused.")
        return False

    def _give_up(self, what: str) -> None:
        self.drop()
        self._exchange.translate = None
        self._exchange.feed(build_error(INTERNAL_ERROR, what))

    def _wait(self) -> None:
        """The server asks nothing: something goes on elsewhere, such as a person's visit to a web page."""
        if self._waited_seconds >= self._link.question_seconds:
            self._give_up("The server wanted to be called again for too long.")
            return
        self._timer = asyncio.get_running_loop().call_later(self._delay_seconds, self._send_again)
        self._waited_seconds += self._delay_seconds
        self._delay_seconds = min(self._delay_seconds * 2, MAX_DELAY_SECONDS)

    def _send_again(self) -> None:
        self._link.waiting.pop(self._exchange, None)
        self._stop_timer()
        if self._exchange.is_done:
            return
        params = with_input_responses(self._params, self._responses, self._request_state)
        try:
            self._channel.send_again(self._exchange, params, mentions_progress=self._mentions_progress)
        except ServerProcessError as failure:
            self._exchange.fail(failure)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _with_client(
    params: Json | Raw | UnsetType, capabilities: Json | Raw, client_info: Json | Raw | None, level: str | None = None
) -> Json:
    return with_stateless_meta(
        params,
        version=STATELESS_VERSIONS[-1],
        capabilities=capabilities,
        client_info=client_info,
        log_level=level,
    )


def _read_capabilities(initialize_params: Mapping[str, Raw]) -> Json:
    """The capabilities without what revision 2026-07-28 removed: tasks, and changes of roots."""
    capabilities = initialize_params.get("capabilities")
    members = read_object(capabilities)
    if capabilities is None or members is None:
        return NO_CAPABILITIES
    roots = members.get("roots")
    root_members = read_object(roots)
    if roots is not None and root_members is not None:
        members["roots"] = Raw(without_members(roots, root_members, ("listChanged",)))
    members.pop("tasks", None)
    return write_object(members)


def _names_subscription(params: Raw | UnsetType) -> bool:
    """Whether a notification is the last word of a subscription that has been ended here."""
    meta = read_object((read_object(params) or {}).get("_meta"))
    return meta is not None and SUBSCRIPTION_ID in meta


def _to_handshake_question(request: InputRequest) -> Raw | UnsetType:
    """Params for a client of revision 2025-11-25, where a question with a web page has an id ("Elicitation")."""
    if request.params is UNSET or request.method != ELICITATION:
        return request.params
    members = read_object(request.params)
    if members is None or read_text(members.get("mode")) != "url":
        return request.params
    elicitation_id = msgspec.json.encode(secrets.token_urlsafe(16))
    return Raw(add_members(request.params, members, {"elicitationId": elicitation_id}))


def _translate_bare(answer: Envelope) -> Envelope:
    try:
        asks = answer.error is UNSET and read_input_required(cast(Raw, answer.result)) is not None
    except StatelessError:
        asks = True
    if asks:
        return build_error(INTERNAL_ERROR, "The server needs input, and a caller without a session cannot be asked.")
    return to_handshake_answer(answer)
