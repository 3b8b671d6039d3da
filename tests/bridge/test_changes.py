import json
from typing import Any

import pytest
from msgspec import Raw

from fluidmcp.bridge.changes import (
    LIST_FLAGS,
    MAX_PARAMS_BYTES,
    MAX_URIS,
    RESOURCE_UPDATED,
    TOOLS_CHANGED,
    ChangeFilter,
    ChangeHub,
    GroupKey,
    read_filter,
)
from fluidmcp.protocol.jsonrpc import Envelope
from fluidmcp.protocol.stateless import StatelessError

GROUP: GroupKey = ("p", None)
PROMPTS_CHANGED = "notifications/prompts/list_changed"
RESOURCES_CHANGED = "notifications/resources/list_changed"


def encode(value: object) -> Raw:
    return Raw(json.dumps(value).encode())


def read(notifications: Any, **params: Any) -> ChangeFilter:
    return read_filter(encode({"notifications": notifications, **params}))


def notification(method: str, **params: Any) -> Envelope:
    return Envelope(method=method, params=encode(params))


def test_a_filter_names_lists_and_resources() -> None:
    wanted = read({"toolsListChanged": True, "resourcesListChanged": True, "resourceSubscriptions": ["a:1", "a:2"]})
    assert wanted == ChangeFilter(frozenset({TOOLS_CHANGED, RESOURCES_CHANGED}), ("a:1", "a:2"))


@pytest.mark.parametrize(
    "notifications",
    [
        {},
        {"toolsListChanged": False},
        {"toolsListChanged": None, "resourceSubscriptions": None},
        {"resourceSubscriptions": []},
        {"tasks": ["of a later revision"]},
    ],
)
def test_what_is_off_or_unknown_is_not_asked_for(notifications: Any) -> None:
    assert read(notifications) == ChangeFilter()


def test_a_resource_that_is_named_twice_counts_once() -> None:
    assert read({"resourceSubscriptions": ["a:1"] * (MAX_URIS + 1)}).uris == ("a:1",)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"notifications": None},
        {"notifications": []},
        {"notifications": "toolsListChanged"},
        {"notifications": {"toolsListChanged": 1}},
        {"notifications": {"toolsListChanged": "true"}},
        {"notifications": {"resourceSubscriptions": "a:1"}},
        {"notifications": {"resourceSubscriptions": {"a:1": True}}},
        {"notifications": {"resourceSubscriptions": [1]}},
        {"notifications": {"resourceSubscriptions": [None]}},
        {"notifications": {"resourceSubscriptions": ["\ud800"]}},
        {"notifications": {"resourceSubscriptions": [f"a:{number}" for number in range(MAX_URIS + 1)]}},
        {"notifications": {}, "padding": "x" * MAX_PARAMS_BYTES},
        [],
    ],
)
def test_a_filter_of_another_form_and_one_that_is_too_large_are_invalid(params: Any) -> None:
    with pytest.raises(StatelessError) as caught:
        read_filter(encode(params))
    assert (caught.value.rpc_code, caught.value.status) == (-32602, 400)


def test_a_filter_as_deep_as_no_reader_goes_is_invalid() -> None:
    with pytest.raises(StatelessError):
        read_filter(Raw(b'{"notifications":{"new":' + b"[" * 20_000 + b"]" * 20_000 + b"}}"))


def test_as_many_resources_as_allowed_are_taken() -> None:
    uris = tuple(f"a:{number}" for number in range(MAX_URIS))
    assert read({"resourceSubscriptions": uris}).uris == uris


def test_a_filter_is_written_as_it_is_read() -> None:
    everything = {flag: True for flag, _ in LIST_FLAGS.values()} | {"resourceSubscriptions": ["a:1", 'a:"ä']}
    assert json.loads(read(everything).encode()) == everything
    assert json.loads(ChangeFilter().encode()) == {}


@pytest.mark.parametrize(
    ("capabilities", "kept"),
    [
        ({"tools": {"listChanged": True}}, {"toolsListChanged": True}),
        ({"tools": {"listChanged": False}, "prompts": {}}, {}),
        ({"tools": True, "prompts": None}, {}),
        ({"prompts": {"listChanged": True}}, {"promptsListChanged": True}),
        ({"resources": {"listChanged": True}}, {"resourcesListChanged": True}),
        ({"resources": {"subscribe": True}}, {"resourceSubscriptions": ["a:1"]}),
        ({}, {}),
        (None, {}),
        ([], {}),
    ],
)
def test_only_what_a_server_promises_is_honoured(capabilities: Any, kept: Any) -> None:
    everything = read({flag: True for flag, _ in LIST_FLAGS.values()} | {"resourceSubscriptions": ["a:1"]})
    assert json.loads(everything.keep_promised(encode(capabilities)).encode()) == kept
    assert everything.keep_promised(None) == ChangeFilter()


@pytest.mark.parametrize(
    ("named", "told", "is_told"),
    [
        ("file:///a", "file:///a", True),
        ("file:///a", "file:///a/b", True),
        ("file:///a/", "file:///a/b", True),
        ("file:///a", "file:///ab", False),
        ("file:///a/b", "file:///a", False),
        ("http://x.example", "http://x.example/", True),
        ("", "", True),
        ("", "/a", False),
    ],
)
def test_a_resource_is_told_with_what_is_below_it(named: str, told: str, is_told: bool) -> None:
    assert ChangeFilter(uris=("z:1", named)).matches(notification(RESOURCE_UPDATED, uri=told)) is is_told


@pytest.mark.parametrize("params", [{}, {"uri": None}, {"uri": 1}, {"uri": ["a:1"]}])
def test_an_update_without_a_readable_address_is_for_nobody(params: Any) -> None:
    assert not ChangeFilter(uris=("a:1", "")).matches(notification(RESOURCE_UPDATED, **params))
    assert not ChangeFilter(uris=("a:1", "")).matches(Envelope(method=RESOURCE_UPDATED))


def test_a_changed_list_is_told_to_those_who_asked_for_that_list() -> None:
    tools = ChangeFilter(frozenset({TOOLS_CHANGED}), ("a:1",))
    assert tools.matches(Envelope(method=TOOLS_CHANGED))
    assert not tools.matches(Envelope(method=PROMPTS_CHANGED))


class Hearing:
    """A subscriber that remembers; with another one to remove when it hears something."""

    def __init__(self) -> None:
        self.heard: list[object] = []
        self.removes: tuple[ChangeHub, Hearing] | None = None

    def receive_change(self, notification: Envelope) -> None:
        self.heard.append(notification.method)
        if self.removes is not None:
            self.removes[0].remove(GROUP, self.removes[1])


def test_a_change_reaches_the_subscribers_of_its_group_until_they_go() -> None:
    hub, first, second, stranger = ChangeHub(), Hearing(), Hearing(), Hearing()
    hub.add(GROUP, first)
    hub.add(GROUP, first)
    hub.add(GROUP, second)
    hub.add(("p", "digest"), stranger)
    hub.publish(GROUP, Envelope(method=PROMPTS_CHANGED))
    hub.remove(GROUP, second)
    hub.remove(GROUP, second)
    hub.remove(("q", None), second)
    hub.publish(GROUP, Envelope(method=TOOLS_CHANGED))
    assert first.heard == [PROMPTS_CHANGED, TOOLS_CHANGED]
    assert second.heard == [PROMPTS_CHANGED]
    assert stranger.heard == []


def test_a_subscriber_may_remove_others_while_it_hears_of_a_change() -> None:
    hub, first, second = ChangeHub(), Hearing(), Hearing()
    first.removes = (hub, second)
    hub.add(GROUP, first)
    hub.add(GROUP, second)
    hub.publish(GROUP, Envelope(method=TOOLS_CHANGED))
    hub.publish(GROUP, Envelope(method=TOOLS_CHANGED))
    assert len(first.heard) == 2
    assert len(second.heard) == 1


def test_changed_tools_are_told_to_those_who_watch_the_tools_of_all_groups() -> None:
    hub = ChangeHub()
    groups: list[GroupKey] = []
    hub.watch_tools(groups.append)
    hub.publish(GROUP, Envelope(method=TOOLS_CHANGED))
    hub.publish(GROUP, Envelope(method=PROMPTS_CHANGED))
    hub.tell_tools_changed(("q", "digest"))
    assert groups == [GROUP, ("q", "digest")]
