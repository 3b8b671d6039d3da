"""Addresses of Redis servers; those of providers are in tests/config/providers."""

import pytest

from fluidmcp.config.settings import load_settings
from fluidmcp.config.urls import check_redis_url, describe_redis_url
from fluidmcp.errors import ConfigurationError

KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        "redis://:secret@10.0.0.1:6380/3",
        "rediss://user:sec%40ret@redis.example/0?ssl_ca_certs=/etc/ca.pem&ssl_certfile=c.pem&ssl_keyfile=k.pem",
        "redis://[::1]:6379",
        "redis://REDIS",
    ],
)
def test_these_addresses_are_good(url: str) -> None:
    assert check_redis_url(url) is None


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("redis+sentinel://a:26379/mymaster/0", "Sentinel and Cluster are not supported"),
        ("redis-cluster://a,b", "Sentinel and Cluster are not supported"),
        ("unix:///run/redis.sock", "must begin with redis://"),
        ("localhost:6379", "must begin with redis://"),
        ("redis://a:6379,b:6379", "valid URL"),
        ("redis://a,b", "one host"),
        ("redis://", "one host"),
        ("redis://a:0", "one host"),
        ("redis://a:99999", "valid URL"),
        ("redis://a/name", "the number of a database"),
        ("redis://a/0#x", "the number of a database"),
        ("rediss://a?ssl_cert_reqs=none", "must not have the parameter ssl_cert_reqs"),
        ("rediss://a?ssl_check_hostname=false", "must not have the parameter ssl_check_hostname"),
        ("redis://a?pass%20word=1", "a parameter that is not known"),
        ("redis://a?ssl_ca_certs=x", "must begin with rediss://"),
        ("redis://:p?w@a", "valid URL"),
    ],
)
def test_other_addresses_are_refused_without_repeating_them(url: str, fault: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings({"FMCP_REDIS_URL": url, "FMCP_SEAL_KEYS": KEY})
    assert "FMCP_REDIS_URL" in caught.value.why
    assert fault in caught.value.why
    assert url not in f"{caught.value.what} {caught.value.why} {caught.value.hint}" or url == "redis://"


def test_host_and_port_are_all_that_is_shown() -> None:
    assert describe_redis_url("rediss://user:secret@redis.example/3") == "redis.example:6379"
    assert describe_redis_url("redis://:secret@[::1]:6380") == "[::1]:6380"


def test_a_shared_store_needs_keys_that_all_gateways_have() -> None:
    url = "redis://:a-secret@redis.example"
    with pytest.raises(ConfigurationError) as caught:
        load_settings({"FMCP_REDIS_URL": url})
    assert "needs FMCP_SEAL_KEYS" in caught.value.what
    settings = load_settings({"FMCP_REDIS_URL": url, "FMCP_SEAL_KEYS": KEY})
    assert settings.redis_url is not None and settings.redis_url.reveal() == url
    assert "a-secret" not in repr(settings)
