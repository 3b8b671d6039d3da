import json
from collections.abc import Sequence

import pytest
from httpx2 import EventSource, Request, Response, ServerSentEvent
from hypothesis import given
from hypothesis import strategies as st

from fluidmcp.protocol.sse import COMMENT, encode_event, encode_priming

EVENT_IDS = st.from_regex(r"[0-9]{1,15}-[0-9]{1,15}", fullmatch=True)


def parse(*chunks: bytes) -> Sequence[ServerSentEvent]:
    """What the event stream reader of the official Python SDK sees."""
    response = Response(
        200,
        headers={"content-type": "text/event-stream"},
        content=b"".join(chunks),
        request=Request("GET", "http://localhost/"),
    )
    return list(EventSource(response))


@given(
    st.text(),
    st.sampled_from(["", "message", "endpoint"]),
    st.just("") | EVENT_IDS,
    st.none() | st.integers(min_value=0, max_value=10**9),
)
def test_what_is_encoded_is_what_a_client_reads(text: str, event: str, event_id: str, retry: int | None) -> None:
    data = json.dumps(text, ensure_ascii=False).encode("utf-8", "surrogatepass")
    if not _is_utf8(data):
        return
    encoded = encode_event(data, event=event.encode(), event_id=event_id.encode(), retry_milliseconds=retry)
    (read,) = parse(encoded)
    assert read == ServerSentEvent(event=event or "message", data=data.decode(), id=event_id, retry=retry)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


@pytest.mark.parametrize(
    ("encoded", "text"),
    [
        (encode_event(b"{}"), b"data: {}\n\n"),
        (encode_event(b"/messages", event=b"endpoint"), b"event: endpoint\ndata: /messages\n\n"),
        (encode_event(b"{}", event_id=b"1-2", retry_milliseconds=0), b"id: 1-2\nretry: 0\ndata: {}\n\n"),
        (encode_priming(b"1-0"), b"id: 1-0\ndata: \n\n"),
    ],
)
def test_fields_that_are_not_given_are_not_written(encoded: bytes, text: bytes) -> None:
    assert encoded == text


def test_a_priming_event_has_an_id_and_empty_data() -> None:
    assert parse(encode_priming(b"4-0", retry_milliseconds=500)) == [ServerSentEvent(data="", id="4-0", retry=500)]


def test_a_comment_between_events_is_passed_over() -> None:
    read = parse(COMMENT, encode_event(b"1"), COMMENT, COMMENT, encode_event(b"2"), COMMENT)
    assert [event.data for event in read] == ["1", "2"]
