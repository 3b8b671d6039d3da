"""What something in front of the gateway does to calls: headers, bodies, streams. Pure module."""

from fluidmcp.cli.doctor.walk.judgements.first_call import judge_rpc_error
from fluidmcp.cli.doctor.walk.report import Diagnosis, Step
from fluidmcp.cli.doctor.walk.seen import Answer, Failure, Seen, StreamSeen, read_challenge

_NGINX_STREAMS = "nginx: proxy_buffering off; gzip off for text/event-stream; see docs/deployment.md"


def judge_bad_token(answer: Answer, refusal: Answer) -> Diagnosis | None:
    """A token that is none gets another 401 than no token at all; `refusal` is the one without."""
    if answer.status != 401 or read_challenge(answer.header("www-authenticate")).get("error"):
        return None
    if read_challenge(refusal.header("www-authenticate")).get("realm") != "fluidmcp":
        return None
    return Diagnosis(
        code="authorization_stripped",
        step="first call",
        cause="The gateway does not see the Authorization header: something in front of it takes it away.",
        remedy="Pass it on (nginx: no proxy_set_header Authorization; Apache: CGIPassAuth or SetEnvIf Authorization).",
    )


def judge_large_body(seen: Seen, *, sent_bytes: int) -> Diagnosis | None:
    """A call as large as one with an image in it."""
    if not isinstance(seen, Answer) or seen.status != 413:
        return None
    size = f"{sent_bytes / 1_000_000:.1f} MB"
    if seen.is_ours:
        remedy = "Raise FMCP_MAX_BODY_BYTES of the gateway."
        cause = f"The gateway refuses a call of {size}."
    else:
        remedy = "Raise the limit of the proxy to that of the gateway (nginx: client_max_body_size 10m)."
        cause = f"The proxy refuses a call of {size}, as tools with files or images send it."
    return Diagnosis(code="body_limit", step="call", cause=cause, remedy=remedy)


def judge_stream(seen: StreamSeen | Seen) -> Diagnosis | None:
    """An event stream, of which the gateway sends the first event at once. None also where there is no stream."""
    if isinstance(seen, Answer):
        return None
    if isinstance(seen, Failure):
        if seen.kind != "timeout":
            return _of_stream("stream_broken", "The event stream breaks off at once.", _NGINX_STREAMS)
        return _buffered()
    if seen.answer.header("content-encoding") not in ("", "identity"):
        return _of_stream(
            "stream_compressed",
            f"Event streams are compressed on the way ({seen.answer.header('content-encoding')}): events wait until "
            "enough have come.",
            _NGINX_STREAMS,
        )
    if seen.ended_after_seconds is not None:
        return _of_stream(
            "stream_cut",
            f"An event stream that is silent was cut off after {seen.ended_after_seconds:.0f} seconds.",
            "Raise the time-out for silence in front of the gateway (nginx: proxy_read_timeout 1h).",
        )
    if not seen.has_event:
        return _buffered()
    if seen.answer.http_version == "HTTP/1.0":
        return _of_stream("http_1_0", "The proxy speaks HTTP/1.0 to clients.", "Let it speak HTTP/1.1 or later.")
    return None


def judge_call(answer: Answer, *, with_token: bool) -> Diagnosis | None:
    """The answer to a call of somebody who may call."""
    step: Step = "call"
    if answer.status == 401 and with_token:
        return Diagnosis(
            code="token_refused",
            step=step,
            cause="The gateway refuses the token: it is unknown, expired, or made for something else.",
            remedy="Take a fresh one. At the gateway's machine, fluidmcp doctor --token says what each check found.",
        )
    if answer.status == 403:
        return Diagnosis(
            code="token_not_allowed",
            step=step,
            cause="The token is good, but its owner or its scopes are not let in.",
            remedy="Log in with the scopes that the 403 names, or let this person in (docs/gateway-login.md).",
        )
    failed = judge_rpc_error(answer)
    if failed is not None:
        return Diagnosis(code=failed.code, step=step, cause=failed.cause, remedy=failed.remedy)
    if answer.document is None or answer.status != 200:
        return Diagnosis(
            code="call_unanswered",
            step=step,
            cause=f"The call got HTTP {answer.status} and no answer of a server.",
            remedy="See the logs of proxy and gateway.",
        )
    return None


def judge_session(listed: Answer, ended: Answer | None) -> Diagnosis | None:
    """Whether the session of the first call is found again: by the second one, and by `ended`, which ends it."""
    if listed.status not in (400, 404) and (ended is None or ended.status < 400):
        return None
    return Diagnosis(
        code="session_lost",
        step="call",
        cause="The session of the first call is not found again: Mcp-Session-Id does not come through, or the second "
        "call came to another gateway.",
        remedy="Pass Mcp-Session-Id on in both directions. For several gateways see docs/scaling.md.",
    )


def _buffered() -> Diagnosis:
    return _of_stream(
        "stream_buffered",
        "Something in front of the gateway keeps events back: the first one of a stream did not come.",
        f"Turn buffering off ({_NGINX_STREAMS}).",
    )


def _of_stream(code: str, cause: str, remedy: str) -> Diagnosis:
    return Diagnosis(code=code, step="stream", cause=cause, remedy=remedy)
