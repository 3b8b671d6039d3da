"""Addresses of what gateways share."""

import pytest

from fluidmcp.config.settings import load_settings
from fluidmcp.config.sharing.redis_address import parse_redis_address
from fluidmcp.errors import ConfigurationError

KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="


@pytest.mark.parametrize(
    ("url", "shown", "database"),
    [
        ("redis://localhost", "localhost:6379", 0),
        ("redis://:secret@10.0.0.1:6380/3", "10.0.0.1:6380", 3),
        ("rediss://user:sec%40ret@redis.example/0", "redis.example:6379", 0),
        ("redis://[::1]:6380/", "[::1]:6380", 0),
        ("redis://REDIS", "redis:6379", 0),
        ("redis+sentinel://user:secret@a,b:1/mymaster", "a:26379, b:1", 0),
        ("redis-sentinel://a/my.master-1/", "a:26379", 0),
        ("rediss+sentinel://[::1],[::2]:1/mymaster/7", "[::1]:26379, [::2]:1", 7),
        ("redis+cluster://user:secret@a,b:6380", "a:6379, b:6380", 0),
        ("rediss+cluster://a/0", "a:6379", 0),
    ],
)
def test_these_addresses_are_good_and_hosts_and_ports_are_all_that_is_shown(
    url: str, shown: str, database: int
) -> None:
    address = parse_redis_address(url)
    assert [address.describe(), address.database] == [shown, database]
    assert address.is_tls == url.startswith("rediss")
    assert "secret" not in repr(address)


def test_what_an_address_holds_is_unescaped() -> None:
    query = "ssl_ca_certs=%2Fca.pem&ssl_certfile=c.pem&ssl_keyfile=k.pem&sentinel_username=s&sentinel_password=p%26w"
    address = parse_redis_address(f"rediss+sentinel://us%3Aer:pass%2F%40word@a/mymaster/0?{query}")
    assert [address.user, address.password.reveal(), address.primary] == ["us:er", "pass/@word", "mymaster"]
    assert [address.sentinel_user, address.sentinel_password.reveal()] == ["s", "p&w"]
    assert address.certificates == {"ssl_ca_certs": "/ca.pem", "ssl_certfile": "c.pem", "ssl_keyfile": "k.pem"}


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("redis+sentinel://a:26379/", "with the name that the Sentinels have"),
        ("redis+sentinel://a:26379/0/mymaster", "with the name that the Sentinels have"),
        ("redis+sentinel://a,,b/mymaster", "must name hosts"),
        ("redis+cluster://a,b/1", "a cluster has database 0 only"),
        ("redis+cluster://a?sentinel_password=x", "must not have the parameter sentinel_password"),
        ("sentinel://a/mymaster", "must begin with redis://, redis+sentinel://"),
        ("unix:///run/redis.sock", "must begin with redis://"),
        ("localhost:6379", "must begin with redis://"),
        ("redis://a:6379,b:6379", "one host: several are for redis+sentinel://"),
        ("redis://a,b", "one host"),
        ("redis://", "one host"),
        ("redis://a:0", "one host"),
        ("redis://a:99999", "one host"),
        ("redis://a/name", "the number of a database"),
        ("redis://a/0#x", "# @ % : are written"),
        ("rediss://a?ssl_cert_reqs=none", "must not have the parameter ssl_cert_reqs"),
        ("rediss://a?ssl_check_hostname=false", "must not have the parameter ssl_check_hostname"),
        ("redis://a?pass%20word=1", "a parameter that is not known"),
        ("redis://a?ssl_ca_certs=x", "must begin with rediss where it names certificates"),
        ("redis://:p?w@a", "/ ? # @ % : are written"),
    ],
)
def test_other_addresses_are_refused_without_repeating_them(url: str, fault: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings({"FMCP_REDIS_URL": url, "FMCP_SEAL_KEYS": KEY})
    assert "FMCP_REDIS_URL" in caught.value.why
    assert fault in caught.value.why
    assert url not in f"{caught.value.what} {caught.value.why} {caught.value.hint}" or url == "redis://"


def test_a_shared_store_needs_keys_that_all_gateways_have() -> None:
    url = "redis://:a-secret@redis.example"
    with pytest.raises(ConfigurationError) as caught:
        load_settings({"FMCP_REDIS_URL": url})
    assert "needs FMCP_SEAL_KEYS" in caught.value.what
    settings = load_settings({"FMCP_REDIS_URL": url, "FMCP_SEAL_KEYS": KEY})
    assert settings.redis_url is not None and settings.redis_url.reveal() == url
    assert "a-secret" not in repr(settings)
