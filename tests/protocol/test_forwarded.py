"""X-Forwarded-For: whose a request is, of which only trusted proxies may say anything."""

import ipaddress
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluidmcp.protocol.forwarded import (
    MAX_HOPS,
    MAX_NETWORKS,
    TrustedProxies,
    group_address,
    parse_hop,
    parse_trusted_proxies,
)

PROXIES = parse_trusted_proxies("10.0.0.1, 10.1.0.0/16, 2001:db8:1::/48, fe80::1")
E17 = pytest.mark.threat("E17")


@E17
@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "203.0.113.5", "10.0.0.2", "", "unix", "10.0.0.1:80"])
def test_e17_a_peer_that_is_not_trusted_is_the_client_whatever_it_says(peer: str):
    assert PROXIES.find_client(peer, "198.51.100.7") == peer
    assert not PROXIES.has(peer)


@E17
@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "10.0.0.1"])
def test_e17_without_a_setting_nobody_is_trusted_and_this_machine_neither(peer: str):
    assert TrustedProxies().find_client(peer, "198.51.100.7") == peer


@E17
@pytest.mark.parametrize("peer", ["10.0.0.1", "::ffff:10.0.0.1", "10.1.255.255", "2001:db8:1::9", "fe80::1%eth0"])
@pytest.mark.parametrize(
    ("field", "client"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("a, b, 198.51.100.7", "198.51.100.7"),
        ("127.0.0.1, 10.0.0.1, 198.51.100.7", "198.51.100.7"),
        ("198.51.100.7, 10.1.2.3", "198.51.100.7"),
        ("127.0.0.1, 198.51.100.7,10.1.2.3 ,\t10.0.0.1", "198.51.100.7"),
        ("198.51.100.7:4711", "198.51.100.7"),
        ("2001:DB8::0007", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("[2001:db8::7]:4711, [2001:db8:1::1]:443", "2001:db8::7"),
        ("[fe80::7%25eth0]:4711", "fe80::7"),
        ("fe80::7%eth0", "fe80::7"),
        ("198.51.100.7, fe80::1%eth3", "198.51.100.7"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("198.51.100.7, ::ffff:10.1.2.3", "198.51.100.7"),
        ("10.1.0.7", "10.1.0.7"),
        ("10.1.0.7, 10.1.0.8", "10.1.0.7"),
    ],
)
def test_e17_the_right_most_hop_that_is_not_trusted_is_the_client(peer: str, field: str, client: str):
    assert PROXIES.find_client(peer, field) == client


@E17
@pytest.mark.parametrize(
    "field",
    [
        "",
        ",",
        " , 10.1.0.1",
        "unknown",
        "_hidden",
        "198.51.100.7,",
        "198.51.100.7, garbage",
        "198.51.100.7, garbage, 10.1.0.1",
        "198.51.100.7 10.1.0.1",
        "198.51.100",
        "198.51.100.07",
        "198.51.100.7:",
        "198.51.100.7:123456",
        "198.51.100.7:x",
        "198.51.100.7/32",
        "[198.51.100.7]",
        "[2001:db8::7",
        "2001:db8::7]",
        "[[2001:db8::7]]",
        "[]",
        "for=198.51.100.7",
        '"198.51.100.7"',
        "\u0661.1.1.1",
        "3405803783",
        "fe80::1%" + "z" * 100,
        "198.51.100.7\x00",
        "localhost",
    ],
)
def test_e17_what_makes_no_sense_leaves_the_address_of_the_proxy(field: str):
    assert PROXIES.find_client("10.0.0.1", field) == "10.0.0.1"


@E17
def test_e17_ten_thousand_entries_are_not_looked_at():
    assert PROXIES.find_client("10.0.0.1", "127.0.0.1," * 10_000 + "198.51.100.7") == "198.51.100.7"
    assert PROXIES.find_client("10.0.0.1", "198.51.100.7," + ",".join(["10.1.0.1"] * 10_000)) == "10.0.0.1"
    assert PROXIES.find_client("10.0.0.1", ",".join(["198.51.100.7", *["10.1.0.1"] * (MAX_HOPS - 1)])) == "198.51.100.7"
    assert PROXIES.find_client("10.0.0.1", ",".join(["198.51.100.7", *["10.1.0.1"] * MAX_HOPS])) == "10.0.0.1"


@E17
@given(st.text(max_size=300))
def test_e17_any_text_gives_an_address_or_leaves_the_proxy(field: str):
    client = PROXIES.find_client("10.0.0.1", field)
    assert str(ipaddress.ip_address(client)) == client


@E17
@given(st.text(max_size=100), st.ip_addresses(), st.lists(st.sampled_from(["10.0.0.1", "10.1.7.7"]), max_size=5))
def test_e17_nothing_to_the_left_of_the_client_counts(left: str, client: ipaddress.IPv4Address, proxies: list[str]):
    right = ",".join([str(client), *proxies])
    if not PROXIES.has(str(client)):
        assert PROXIES.find_client("10.0.0.1", f"{left},{right}") == PROXIES.find_client("10.0.0.1", right)
        assert parse_hop(PROXIES.find_client("10.0.0.1", right)) == parse_hop(str(client))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("*", "is no IP address"),
        ("localhost", "is no IP address"),
        ("10.0.0.1/8", "has bits behind its prefix: the network is 10.0.0.0/8"),
        ("0.0.0.0/0", "is everybody"),
        ("::/0", "is everybody"),
        ("::ffff:10.0.0.1", "is one of IPv4"),
        ("10.0.0.1:80", "is no IP address"),
        ("[::1]", "is no IP address"),
        ("10.0.0.1 ::1", "is no IP address"),
    ],
)
def test_what_is_no_address_of_a_proxy_is_refused_and_named(text: str, why: str):
    with pytest.raises(ValueError, match=re.escape(f"{text!r} {why}")):
        parse_trusted_proxies(f"10.0.0.9, unix, {text}")


def test_whoever_connects_to_a_unix_socket_has_no_address_and_is_trusted_by_name():
    trusted = parse_trusted_proxies("10.0.0.1, Unix")
    assert trusted.has("") and not PROXIES.has("")
    assert trusted.find_client("", "198.51.100.7, 203.0.113.5, 10.0.0.1") == "203.0.113.5"
    assert trusted.find_client("", "nonsense") == trusted.find_client("", None) == ""
    assert PROXIES.find_client("", "203.0.113.5") == ""


@pytest.mark.parametrize(
    ("address", "counted_as"),
    [
        ("203.0.113.5", "203.0.113.5"),
        ("::ffff:203.0.113.5", "203.0.113.5"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("testclient", "testclient"),
    ],
)
def test_the_network_of_one_subscriber_counts_as_one_address(address: str, counted_as: str):
    assert group_address(address) == counted_as


def test_networks_are_a_bounded_set():
    assert parse_trusted_proxies("") == parse_trusted_proxies(" , ") == TrustedProxies()
    assert parse_trusted_proxies("10.0.0.1,10.0.0.1/32") == parse_trusted_proxies("10.0.0.1")
    assert len(parse_trusted_proxies(",".join(f"10.0.{n}.1" for n in range(MAX_NETWORKS))).networks) == MAX_NETWORKS
    with pytest.raises(ValueError, match="many"):
        parse_trusted_proxies(",".join(["10.0.0.1"] * (MAX_NETWORKS + 1)))
