from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec import UNSET, Raw

from fluidmcp.bridge.session_subscription import MAX_SUBSCRIBED_BYTES
from fluidmcp.bridge.stateless_link import StatelessLink, send_bare_request
from fluidmcp.errors import ServerExitedError
from tests.bridge.stateless_servers import META, Client, Servers, answer_of, decode, encode, event_of, run_servers

LIST_CHANGED = "notifications/tools/list_changed"
UPDATED = "notifications/resources/updated"


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[Servers]:
    async with run_servers(tmp_path / "homes") as servers:
        yield servers


async def test_the_first_request_subscribes_to_the_lists_that_the_server_may_change(servers: Servers) -> None:
    client = await servers.connect()
    await client.call("tools/list")
    assert await client.subscriptions() == [{"toolsListChanged": True, "resourcesListChanged": True}]
    (request,) = await client.heard("subscriptions/listen")
    assert request["params"]["_meta"][META + "protocolVersion"] == "2026-07-28"


async def test_the_request_timeout_ends_no_subscription_that_is_acknowledged(servers: Servers) -> None:
    client = await servers.connect("--slow-listen")
    call = client.send("tools/list")
    (subscription,) = [exchange for exchange in client.link.channel.exchanges if exchange is not call]
    assert subscription.clock is not None
    await client.tool("acknowledge")
    assert subscription.clock is None
    assert subscription in client.link.channel.exchanges


async def test_a_client_that_says_it_is_initialized_hears_of_changed_lists(servers: Servers) -> None:
    client = await servers.connect()
    client.link.send_notification("notifications/initialized", UNSET)
    send_bare_request(
        client.link.channel,
        "tools/call",
        encode({"name": "tell", "arguments": {"method": LIST_CHANGED, "params": {}}}),
        mentions_progress=False,
        wants_notifications=False,
    )
    assert (await client.told())["method"] == LIST_CHANGED


async def test_a_changed_list_is_told_on_the_general_stream_and_names_no_subscription(servers: Servers) -> None:
    client = await servers.connect()
    exchange = client.send_tool("tell", {"method": LIST_CHANGED, "params": {"a": 1}})
    assert await client.told() == {"jsonrpc": "2.0", "method": LIST_CHANGED, "params": {"a": 1}}
    assert (await event_of(exchange)).is_answer


async def test_other_notifications_are_told_as_they_are(servers: Servers) -> None:
    client = await servers.connect()
    exchange = client.send_tool("shout", {"method": LIST_CHANGED, "params": {"a": 1}})
    assert await client.told() == {"jsonrpc": "2.0", "method": LIST_CHANGED, "params": {"a": 1}}
    assert (await event_of(exchange)).is_answer
    exchange = client.send_tool("shout", {"method": "notifications/custom", "params": {"a": 2}})
    notification = await event_of(exchange)
    assert (notification.method, decode(notification.params)) == ("notifications/custom", {"a": 2})


async def test_a_server_whose_lists_do_not_change_is_asked_for_no_subscription(servers: Servers) -> None:
    client = await servers.connect("--plain")
    await client.call("tools/list")
    assert await client.subscriptions() == []
    answer = await client.call("resources/subscribe", {"uri": "file:///a"})
    assert answer["error"]["code"] == -32601


async def test_a_subscribed_resource_opens_a_new_subscription_before_the_old_one_ends(servers: Servers) -> None:
    client = await servers.connect()
    lists = {"toolsListChanged": True, "resourcesListChanged": True}
    assert await client.call("resources/subscribe", {"uri": "file:///\u00e9"}) == {"result": {}}
    assert await client.call("resources/subscribe", {"uri": "file:///b"}) == {"result": {}}
    assert await client.call("resources/unsubscribe", {"uri": "file:///\u00e9"}) == {"result": {}}
    assert await client.subscriptions() == [
        lists,
        {**lists, "resourceSubscriptions": ["file:///\u00e9"]},
        {**lists, "resourceSubscriptions": ["file:///\u00e9", "file:///b"]},
        {**lists, "resourceSubscriptions": ["file:///b"]},
    ]
    opened = [message["id"] for message in await client.heard("subscriptions/listen")]
    closed = [message["params"]["requestId"] for message in await client.heard("notifications/cancelled")]
    assert closed == opened[:-1]
    await client.tool("tell", {"method": UPDATED, "params": {"uri": "file:///b"}})
    assert await client.told() == {"jsonrpc": "2.0", "method": UPDATED, "params": {"uri": "file:///b"}}


async def test_what_changes_nothing_asks_the_server_nothing(servers: Servers) -> None:
    client = await servers.connect()
    await client.call("resources/subscribe", {"uri": "a:/b"})
    # The same text, spelled in another way.
    assert await client.call("resources/subscribe", Raw(b'{"uri":"a:\\/b"}')) == {"result": {}}
    assert await client.call("resources/unsubscribe", {"uri": "a:/c"}) == {"result": {}}
    assert len(await client.subscriptions()) == 2


async def test_a_subscription_holds_once_the_server_acknowledges_it_and_the_old_one_until_then(
    servers: Servers,
) -> None:
    client = await servers.connect("--slow-listen")
    await client.tool("acknowledge")
    first = client.send("resources/subscribe", {"uri": "a:a"})
    second = client.send("resources/subscribe", {"uri": "a:b"})
    await client.tool("tell", {"method": LIST_CHANGED, "params": {}})
    assert (await client.told())["method"] == LIST_CHANGED
    assert not first.is_done
    assert len(await client.subscriptions()) == 2
    await client.tool("acknowledge")
    assert first.is_done
    assert not second.is_done
    await client.tool("acknowledge")
    assert await answer_of(second) == {"result": {}}
    assert [notifications.get("resourceSubscriptions") for notifications in await client.subscriptions()] == [
        None,
        ["a:a"],
        ["a:a", "a:b"],
    ]


async def test_a_server_without_subscriptions_serves_everything_else_and_is_asked_once(servers: Servers) -> None:
    client = await servers.connect("--refuse-listen")
    for _ in range(2):
        assert "result" in await client.tool("any")
    assert len(await client.subscriptions()) == 1
    answer = await client.call("resources/subscribe", {"uri": "a:a"})
    assert answer["error"]["code"] == -32601


async def test_a_subscription_that_the_server_ends_is_opened_again_with_the_next_request(servers: Servers) -> None:
    client = await servers.connect()
    await client.call("resources/subscribe", {"uri": "a:a"})
    await client.tool("end")
    subscriptions = await client.subscriptions()
    assert len(subscriptions) == 3
    assert subscriptions[2] == subscriptions[1]


async def test_a_later_process_of_the_session_takes_over_what_the_client_chose(servers: Servers) -> None:
    client = await servers.connect()
    await client.call("resources/subscribe", {"uri": "a:a"})
    await client.call("logging/setLevel", {"level": "error"})
    old = Client(client.session, client.link, client.general)
    client.session.link = client.link = StatelessLink(client.session, await servers.start())
    await client.call("tools/list")
    (request,) = await client.heard("tools/list")
    assert request["params"]["_meta"][META + "logLevel"] == "error"
    assert [filter_["resourceSubscriptions"] for filter_ in await client.subscriptions()] == [["a:a"]]
    answer = await answer_of(old.link.channel.send_request("test/heard", UNSET))
    heard = [message for message in answer["result"]["heard"] if message["method"] == "notifications/cancelled"]
    assert len(heard) == 2


async def test_a_change_that_was_not_acknowledged_is_answered_by_the_later_process(servers: Servers) -> None:
    client = await servers.connect("--slow-listen")
    exchange = client.send("resources/subscribe", {"uri": "a:a"})
    client.session.link = client.link = StatelessLink(client.session, await servers.start())
    await client.call("tools/list")
    assert await answer_of(exchange) == {"result": {}}
    assert [filter_["resourceSubscriptions"] for filter_ in await client.subscriptions()] == [["a:a"]]


async def test_a_change_fails_with_the_process(servers: Servers) -> None:
    client = await servers.connect("--slow-listen")
    await client.tool("acknowledge")
    # One is on its way to the server, the other one waits for it.
    exchanges = [client.send("resources/subscribe", {"uri": f"a:{number}"}) for number in range(2)]
    client.send_tool("die")
    for exchange in exchanges:
        with pytest.raises(ServerExitedError):
            await event_of(exchange)


async def test_late_words_of_an_old_subscription_are_told_unless_the_client_has_left(servers: Servers) -> None:
    client = await servers.connect()
    for uri in ("a:left", "a:kept"):
        await client.call("resources/subscribe", {"uri": uri})
    await client.call("resources/unsubscribe", {"uri": "a:left"})
    for uri in ("a:left", "a:kept"):
        await client.tool("tell_late", {"method": UPDATED, "params": {"uri": uri}})
    assert (await client.told())["params"] == {"uri": "a:kept"}


async def test_a_session_subscribes_to_a_bounded_amount_of_text(servers: Servers) -> None:
    client = await servers.connect()
    assert "result" in await client.call("resources/subscribe", {"uri": "a" * (MAX_SUBSCRIBED_BYTES - 10)})
    answer = await client.call("resources/subscribe", {"uri": "b" * 10})
    assert answer["error"]["code"] == -32603
    assert "result" in await client.call("resources/unsubscribe", {"uri": "a" * (MAX_SUBSCRIBED_BYTES - 10)})
    assert "result" in await client.call("resources/subscribe", {"uri": "b" * 10})


async def test_changes_that_wait_count_as_subscribed(servers: Servers) -> None:
    client = await servers.connect("--slow-listen")
    await client.tool("acknowledge")
    half = MAX_SUBSCRIBED_BYTES // 2 - 10
    # A subscription that is being opened, one that waits, and one too many.
    waiting = [client.send("resources/subscribe", {"uri": letter * half}) for letter in "ab"]
    answer = await client.call("resources/subscribe", {"uri": "c" * half})
    assert answer["error"]["code"] == -32603
    assert not any(exchange.is_done for exchange in waiting)


@pytest.mark.parametrize("params", [{"uri": 1}, {}, None])
async def test_a_subscription_without_a_uri_is_refused(servers: Servers, params: object) -> None:
    client = await servers.connect()
    assert (await client.call("resources/subscribe", params))["error"]["code"] == -32602


async def test_the_stateless_eras_own_subscriptions_are_unknown_to_the_client(servers: Servers) -> None:
    client = await servers.connect()
    assert (await client.call("subscriptions/listen", {"notifications": {}}))["error"]["code"] == -32601
