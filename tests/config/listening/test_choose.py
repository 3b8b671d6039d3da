"""Where a gateway listens: options, variables, a socket that is there already, and what does not go together."""

from typing import Any

import pytest

from fluidmcp.config.listening.choose import GivenSocket, TlsFiles
from fluidmcp.config.settings import GatewaySettings, is_exposed, load_settings
from fluidmcp.errors import ConfigurationError

PAIR = {"FMCP_TLS_CERT": "/etc/c.pem", "FMCP_TLS_KEY": "/etc/k.pem"}


def test_with_a_certificate_the_public_address_is_https():
    settings = load_settings(PAIR, port=8443)
    assert settings.public_url == "https://localhost:8443"
    assert settings.tls == TlsFiles(certificate="/etc/c.pem", key="/etc/k.pem")
    assert load_settings(PAIR, tls_cert="/other.pem").tls == TlsFiles(certificate="/other.pem", key="/etc/k.pem")


@pytest.mark.parametrize("url", ["https://gateway.example", "https://localhost", "http://localhost:8099"])
def test_a_unix_socket_counts_as_exposed_whatever_the_public_address_says(url: str):
    settings = load_settings({"FMCP_UDS": "/run/g.sock"}, public_url=url)
    assert (settings.uds, settings.host, settings.alias_port) == ("/run/g.sock", None, None)
    assert is_exposed(settings)
    assert is_exposed(load_settings({}, given_socket=GivenSocket(path=""), public_url=url))


def test_an_option_wins_over_the_variable_of_the_socket():
    settings = load_settings({"FMCP_UDS": "/run/g.sock"}, port=8100)
    assert (settings.uds, settings.port) == (None, 8100)


def test_a_given_port_is_that_of_the_settings():
    settings = load_settings(
        {"MCP_CLIENT_SERVER_PORT": "1234", "FMCP_UDS": "/x"}, given_socket=GivenSocket(host="127.0.0.1", port=8100)
    )
    assert (settings.host, settings.port, settings.alias_port, settings.uds) == ("127.0.0.1", 8100, None, None)
    assert settings.public_url == "http://localhost:8100"
    assert settings.is_socket_given
    assert not is_exposed(settings)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7"])
def test_a_given_socket_that_lets_others_in_needs_a_guard_as_a_host_does(host: str):
    given = GivenSocket(host=host, port=8100)
    with pytest.raises(ConfigurationError) as caught:
        load_settings({}, given_socket=given)
    assert "lets other machines in" in caught.value.why
    assert is_exposed(load_settings({}, given_socket=given, secure=True))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"uds": "/x"}, "needs --public-url"),
        ({"uds": "/x", "port": 1, "public_url": "https://a.example"}, "--uds does not go together with --host"),
        ({"given_socket": GivenSocket(path="/y"), "uds": "/x", "public_url": "https://a.example"}, "handed over"),
        ({"given_socket": GivenSocket(host="::1", port=1), "host": "::1"}, "handed over"),
        ({"given_socket": GivenSocket(path="/y")}, "needs --public-url"),
    ],
)
def test_what_does_not_go_together_is_told(options: dict[str, Any], says: str):
    with pytest.raises(ConfigurationError) as caught:
        load_settings({}, **options)
    assert says in caught.value.why


def test_without_any_of_it_nothing_changes():
    assert load_settings({}) == GatewaySettings(port=8099, alias_port=8090, public_url="http://localhost:8099")
