"""Questions to the client in the middle of a call: `input_required` results, and the retries that answer them.

Pure module: no I/O, no clock. Sources: 2026-07-28, "Multi Round-Trip Requests", "Elicitation", "Sampling", "Roots".
In the handshake era the same questions are requests of the server (`elicitation/create` and the others).
"""

import hashlib
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias, cast

import msgspec
from msgspec import UNSET, Raw, UnsetType

from fluidmcp.protocol.jsonrpc import INTERNAL_ERROR, INVALID_PARAMS, Json
from fluidmcp.protocol.objects import Text, is_null, is_object, read_object, read_text, without_members, write_object
from fluidmcp.protocol.stateless import MISSING_CAPABILITY, StatelessError
from fluidmcp.protocol.translate import INPUT_MEMBERS, SERVER_INFO, URL_ELICITATION_REQUIRED, read_error_code

ELICITATION: Final = "elicitation/create"
SAMPLING: Final = "sampling/createMessage"
ROOTS: Final = "roots/list"

Capability: TypeAlias = dict[str, object]
"""A ClientCapabilities object with what is needed, such as `{"sampling": {}}`."""

_INPUT_REQUIRED: Final[Json] = b'"input_required"'
_ACTIONS: Final = frozenset(("accept", "decline", "cancel"))
MAX_REMEMBERED_BYTES: Final = 1000
"""Clients declare few different capabilities; what is longer is not remembered."""
_INTERACTIVE: Final = (("elicitation", ("form", "url")), ("roots", ()), ("sampling", ("context", "tools")))

_decode_exactly = msgspec.json.Decoder(float_hook=Decimal).decode
_encode_canonically = msgspec.json.Encoder(order="sorted", decimal_format="number").encode


class InputRequest(NamedTuple):
    """One question: a method and its params, an object or missing."""

    method: str
    params: Raw | UnsetType


class InputRequired(NamedTuple):
    """A result that asks. `requests` has a key for each question, `request_state` is a JSON string or None."""

    requests: dict[str, InputRequest]
    request_state: Raw | None


def read_input_required(result: Text) -> InputRequired | None:
    """What a stateless-era server asks, or None when the result is not of the type `input_required`.

    Raises:
        StatelessError: -32603 with 200: the server asks in a form that nobody can answer.
    """
    members = read_object(result)
    if members is None or "resultType" not in members or bytes(members["resultType"]) != _INPUT_REQUIRED:
        return None
    requests = _read_member(members, "inputRequests")
    state = _read_member(members, "requestState")
    asked = {} if requests is None else read_object(requests)
    if asked is None or (requests is None and state is None) or (state is not None and read_text(state) is None):
        raise _bad_question()
    return InputRequired({key: _read_input_request(request) for key, request in asked.items()}, state)


def _read_member(members: Mapping[str, Raw], name: str) -> Raw | None:
    value = members.get(name)
    return None if value is None or is_null(value) else value


def _read_input_request(text: Raw) -> InputRequest:
    members = read_object(text)
    method = read_text(members.get("method")) if members is not None else None
    if members is None or method is None:
        raise _bad_question()
    params = members.get("params", UNSET)
    if params is not UNSET and not is_object(params):
        raise _bad_question()
    return InputRequest(method, params)


def _bad_question() -> StatelessError:
    return StatelessError(INTERNAL_ERROR, 200, "The server asks for input in a form that nobody can answer.")


def encode_input_required(
    requests: Mapping[str, InputRequest], request_state: str | None, server_info: Text | None
) -> Json:
    """A result that asks the client of the stateless era, in place of requests of a handshake-era server.

    An `elicitationId`, which the stateless era does not have, goes. One of questions and state has to be there.
    """
    members: dict[str, Raw] = {"resultType": Raw(_INPUT_REQUIRED)}
    if requests:
        members["inputRequests"] = Raw(
            write_object({key: Raw(_encode_input_request(request)) for key, request in requests.items()})
        )
    if request_state is not None:
        members["requestState"] = Raw(msgspec.json.encode(request_state))
    if server_info is not None:
        members["_meta"] = Raw(write_object({SERVER_INFO: Raw(server_info)}))
    return write_object(members)


def _encode_input_request(request: InputRequest) -> Json:
    members = {"method": Raw(msgspec.json.encode(request.method))}
    if request.params is not UNSET:
        params = request.params if request.method != ELICITATION else _without_elicitation_id(request.params)
        members["params"] = Raw(params)
    return write_object(members)


def _without_elicitation_id(params: Text) -> Text:
    members = read_object(params)
    return params if members is None else without_members(params, members, ("elicitationId",))


def read_url_elicitations(error: Text) -> dict[str, InputRequest] | None:
    """The questions in the error -32042 of revision 2025-11-25 (URL elicitation required).

    None for any other error, and for one whose data holds no such question.
    """
    if read_error_code(error) != URL_ELICITATION_REQUIRED:
        return None
    members = read_object(error) or {}
    data = read_object(members.get("data")) or {}
    try:
        elicitations = msgspec.json.decode(data["elicitations"], type=list[Raw])
    except (KeyError, msgspec.DecodeError, RecursionError):
        return None
    requests: dict[str, InputRequest] = {}
    for number, elicitation in enumerate(elicitations, start=1):
        params = read_object(elicitation)
        if params is None or "url" not in params:
            return None
        params["mode"] = Raw(b'"url"')
        requests[f"url-{number}"] = InputRequest(ELICITATION, Raw(write_object(params)))
    return requests or None


def read_input_responses(members: Mapping[str, Raw]) -> tuple[dict[str, Raw] | None, str | None]:
    """The answers and the state in the params of a retry, by their members; None for what is not there.

    Raises:
        StatelessError: -32602 with 400, when the answers are not an object of objects, or the state is no string.
    """
    responses, state = _read_member(members, "inputResponses"), _read_member(members, "requestState")
    answers = read_object(responses)
    if responses is not None and (answers is None or not all(is_object(answer) for answer in answers.values())):
        raise StatelessError(INVALID_PARAMS, 400, "The member inputResponses must be an object that holds objects.")
    text = read_text(state)
    if state is not None and text is None:
        raise StatelessError(INVALID_PARAMS, 400, "The member requestState must be a string.")
    return answers, text


def without_input_responses(params: Text | UnsetType) -> Text | UnsetType:
    """The params of the first request: without answers and state. The same object where there are none."""
    members = read_object(params)
    if params is UNSET or members is None:
        return params
    return without_members(params, members, INPUT_MEMBERS)


def with_input_responses(params: Text | UnsetType, responses: Mapping[str, Text], request_state: Text | None) -> Text:
    """The params of a retry: answers by the keys of the questions, and the state exactly as it came.

    `request_state` is a JSON string, as `InputRequired` has it. Answers and state of an earlier round go.
    """
    members = {} if params is UNSET else read_object(params)
    if members is None:
        return cast(Text, params)
    retry = {name: value for name, value in members.items() if name not in INPUT_MEMBERS}
    if responses:
        retry["inputResponses"] = Raw(write_object({key: Raw(response) for key, response in responses.items()}))
    if request_state is not None:
        retry["requestState"] = Raw(request_state)
    return write_object(retry)


def required_capability(method: str, params: Text | UnsetType) -> Capability | None:
    """What a client must have declared to be asked this; None for what no client is ever asked.

    Form elicitation needs `{"elicitation": {"form": {}}}`, which `has_capability` finds in `{"elicitation": {}}` too.
    """
    if method == ROOTS:
        return {"roots": {}}
    members = read_object(params) or {}
    if method == ELICITATION:
        return {"elicitation": {"url": {}} if read_text(members.get("mode")) == "url" else {"form": {}}}
    if method == SAMPLING:
        has_tools = any(_read_member(members, name) is not None for name in ("tools", "toolChoice"))
        return {"sampling": {"tools": {}} if has_tools else {}}
    return None


def missing_capability(required: Capability) -> StatelessError:
    """The answer to a request that cannot be served without asking what the client did not declare: -32021 with 400."""
    return StatelessError(
        MISSING_CAPABILITY,
        400,
        f"The request needs a capability that the client did not declare: {', '.join(sorted(required))}.",
        data={"requiredCapabilities": required},
    )


def has_capability(capabilities: Text, required: Capability) -> bool:
    """Whether a client's declared capabilities, a JSON object, hold those that `required_capability` tells."""
    declared = _read_interactive(capabilities)
    return all(
        name in declared and declared[name].issuperset(cast("dict[str, object]", kinds))
        for name, kinds in required.items()
    )


def list_interactive_capabilities(capabilities: Text) -> Json:
    """The capabilities by which a client can be asked something, in one spelling for all that mean the same.

    The text is a JSON object that can be handed to a server; `{}` when there are none. It holds nothing that a client
    made up, so there are few such texts: they can be part of a key by which processes are shared.
    """
    text = bytes(capabilities)
    return _list_interactive(text) if len(text) > MAX_REMEMBERED_BYTES else _list_known_interactive(text)


def _list_interactive(capabilities: Json) -> Json:
    declared = _read_interactive(capabilities)
    spelled: dict[str, dict[str, dict[str, str]]] = {
        name: {} if kinds == {"form"} else {kind: {} for kind in kinds} for name, kinds in declared.items()
    }
    return _encode_canonically(spelled)


_list_known_interactive: Final = lru_cache(maxsize=64)(_list_interactive)


def _read_interactive(capabilities: Text) -> dict[str, set[str]]:
    """The interactive capabilities with the kinds of each that are declared."""
    members = read_object(capabilities) or {}
    declared: dict[str, set[str]] = {}
    for name, kinds in _INTERACTIVE:
        details = read_object(members.get(name))
        if details is not None:
            declared[name] = {kind for kind in kinds if is_object(details.get(kind))}
    if declared.get("elicitation") == set():
        # Revision 2025-06-18 knows forms alone, and has no name for them ("Elicitation", "Capabilities").
        declared["elicitation"] = {"form"}
    return declared


def digest_params(params: Text | UnsetType) -> bytes:
    """SHA-256 of params as a retry has to repeat them: `_meta`, answers and state do not count.

    The order of members and the space between them do not count either; numbers do, in every digit.
    """
    members = read_object(params)
    if members is None:
        return hashlib.sha256(b"" if params is UNSET else bytes(params)).digest()
    kept = {name: Raw(_spell(value)) for name, value in members.items() if name not in (*INPUT_MEMBERS, "_meta")}
    return hashlib.sha256(write_object(dict(sorted(kept.items())))).digest()


def _spell(value: Raw) -> Json:
    try:
        return _encode_canonically(_decode_exactly(value))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        # Too deep, or too large a number: the client's own spelling, which a retry repeats.
        return bytes(value)


def fits_response(method: str, response: Text) -> bool:
    """Whether an answer has the form that the question asks for."""
    members = read_object(response)
    if members is None:
        return False
    if method == ELICITATION:
        content = _read_member(members, "content")
        return read_text(members.get("action")) in _ACTIONS and (content is None or is_object(content))
    if method == SAMPLING:
        content = members.get("content", Raw(b"null"))
        named = read_text(members.get("role")) is not None and read_text(members.get("model")) is not None
        return named and bytes(content)[:1] in (b"{", b"[")
    if method == ROOTS:
        try:
            roots = msgspec.json.decode(members["roots"], type=list[dict[str, Raw]])
        except (KeyError, msgspec.DecodeError, RecursionError):
            return False
        return all(read_text(root.get("uri")) is not None for root in roots)
    return False
