"""The load generator in Python believes no answer that is not right. (That in C is checked by hand: it is no part.)"""

import argparse
import json
from typing import Any

import pytest

from benchmarks.programs.load import Load, Response


def make_load(**changes: Any) -> Load:
    options: dict[str, Any] = {
        "bytes": 50,
        "tool": "echo",
        "style": "bare",
        "steps": 2,
        "server": "echo",
        "revision": "2025-06-18",
        "requests": 0,
    }
    return Load(argparse.Namespace(**(options | changes)))


def respond(number: int, text: str, *, status: int = 200, before: tuple[dict[str, Any], ...] = ()) -> Response:
    messages = [*before, {"jsonrpc": "2.0", "id": number, "result": {"content": [{"type": "text", "text": text}]}}]
    body = "".join(f"event: message\ndata: {json.dumps(message)}\n\n" for message in messages)
    return Response(status=status, headers={"content-type": "text/event-stream"}, parts=[body.encode()])


def progress(token: int, step: int) -> dict[str, Any]:
    return {"method": "notifications/progress", "params": {"progressToken": token, "progress": step, "total": 2}}


def test_a_right_answer_counts():
    load = make_load()
    number, sought, _ = load.write_call()
    load.check(respond(number, sought), number, sought, 1.0)
    assert (load.counts["all_answers"], load.fault) == (1, "")


@pytest.mark.parametrize(("change", "counter"), [("id", "wrong"), ("text", "wrong"), ("status", "refused")])
def test_another_answer_does_not(change: str, counter: str):
    load = make_load()
    number, sought, _ = load.write_call()
    given = (number + (change == "id"), sought[: -1 if change == "text" else None])
    load.check(respond(*given, status=500 if change == "status" else 200), number, sought, 1.0)
    assert (load.counts["all_answers"], load.counts[counter]) == (0, 1)


@pytest.mark.parametrize(
    ("told", "is_right"),
    [([(0, 1), (0, 2)], True), ([(0, 1)], False), ([(0, 2), (0, 1)], False), ([(1, 1), (0, 2)], False)],
)
def test_progress_has_to_be_complete_in_order_and_under_the_token(told: list[tuple[int, int]], is_right: bool):
    load = make_load(tool="progress")
    number, sought, _ = load.write_call()
    before = tuple(progress(number + other, step) for other, step in told)
    load.check(respond(number, sought, before=before), number, sought, 1.0)
    assert load.counts["all_answers"] == is_right
