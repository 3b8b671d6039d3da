"""Settings: the environment and the command line become one frozen value, or one error with all faults."""

from pathlib import Path
from typing import Any

import pytest

from fluidmcp.config.auth_block import AuthBlock
from fluidmcp.config.entries import ServerEntry
from fluidmcp.config.settings import (
    MEGABYTE,
    GatewaySettings,
    IsolationSettings,
    check_is_guarded,
    check_who_is_allowed,
    is_exposed,
    load_settings,
    read_environment,
)
from fluidmcp.errors import ConfigurationError
from fluidmcp.protocol.forwarded import parse_trusted_proxies


def entry(*, allow_any_user: bool = False) -> ServerEntry:
    auth = AuthBlock(
        authorization_url="https://a.example",
        token_url="https://a.example",
        env_var_name="T",
        allow_any_user=allow_any_user,
    )
    return ServerEntry(name="mail", command="x", auth=auth, directory=Path(), source="metadata.json")


@pytest.mark.promise(26, 68, 103)
def test_without_any_setting_one_package_answers_on_8099_and_8090():
    assert load_settings({}) == GatewaySettings(port=8099, alias_port=8090, public_url="http://localhost:8099")


@pytest.mark.promise(68)
@pytest.mark.parametrize(
    ("environ", "port", "single", "expected"),
    [
        ({}, None, False, (8099, None)),
        ({}, 8099, True, (8099, None)),
        ({"MCP_CLIENT_SERVER_PORT": "9001"}, None, True, (9001, None)),
        ({"MCP_CLIENT_SERVER_PORT": "9001"}, None, False, (8099, None)),
        ({"MCP_CLIENT_SERVER_ALL_PORT": "9002"}, None, False, (9002, None)),
        ({"MCP_CLIENT_SERVER_ALL_PORT": "9002"}, None, True, (8099, None)),
        ({"MCP_CLIENT_SERVER_PORT": "9001", "MCP_CLIENT_SERVER_ALL_PORT": "9002"}, 9003, True, (9003, None)),
        ({"MCP_CLIENT_SERVER_PORT": ""}, None, True, (8099, 8090)),
    ],
)
def test_the_port_is_chosen_and_any_choice_ends_the_alias(
    environ: dict[str, str], port: int | None, single: bool, expected: tuple[int, int | None]
):
    settings = load_settings(environ, port=port, single_package=single)
    assert (settings.port, settings.alias_port) == expected
    assert settings.public_url == f"http://localhost:{expected[0]}"


def test_every_variable_reaches_its_setting():
    settings = load_settings(
        {
            "FMCP_PUBLIC_URL": "https://mcp.example.com/",
            "FMCP_ALLOWED_HOSTS": "A.example, b.example",
            "FMCP_ALLOWED_ORIGINS": "https://app.example:8443",
            "FMCP_TRUSTED_PROXIES": "10.0.0.5, 2001:db8::/32",
            "FMCP_MAX_BODY_BYTES": "2048",
            "FMCP_MAX_PROCESSES": "1",
            "FMCP_MAX_PROCESSES_PER_PACKAGE": "2",
            "FMCP_MAX_PROCESSES_PER_PRINCIPAL": "3",
            "FMCP_MAX_CONCURRENT_STARTS": "4",
            "FMCP_START_TIMEOUT_SECONDS": "5.5",
            "FMCP_REQUEST_TIMEOUT_SECONDS": "6",
            "FMCP_IDLE_TIMEOUT_SECONDS": "7",
            "FMCP_MAX_SESSIONS": "8",
            "FMCP_MAX_SESSIONS_PER_PRINCIPAL": "9",
            "FMCP_MAX_WAITING_LOGINS": "30000",
            "FMCP_MAX_LOGINS": "1000000",
            "FMCP_MAX_LOGINS_PER_ADDRESS": "10",
            "FMCP_MAX_LOGIN_REQUESTS_PER_ADDRESS": "11",
            "FMCP_LOG_LEVEL": "DEBUG",
            "FMCP_ISOLATION": "Landlock",
            "FMCP_UID_RANGE": " 200000-200999 ",
            "FMCP_MAX_MEMORY_MB": "16",
            "FMCP_MAX_DISK_MB": "17",
            "FMCP_MAX_TASKS": "18",
            "FMCP_MAX_OPEN_FILES": "64",
        },
        allow_unisolated=True,
    )
    limits = settings.limits
    assert settings.public_url == "https://mcp.example.com"
    assert settings.allowed_hosts == {"a.example", "b.example"}
    assert settings.allowed_origins == {"https://app.example:8443"}
    assert settings.trusted_proxies == parse_trusted_proxies("10.0.0.5,2001:db8::/32")
    assert (settings.max_body_bytes, settings.max_sessions, settings.max_sessions_per_principal) == (2048, 8, 9)
    logins = settings.logins
    assert (logins.max_waiting, logins.max_logins) == (30_000, 1_000_000)
    assert (logins.max_per_address, logins.max_requests_per_address) == (10, 11)
    assert (limits.max_processes, limits.max_processes_per_package, limits.max_processes_per_principal) == (1, 2, 3)
    assert (limits.max_concurrent_starts, limits.start_timeout_seconds) == (4, 5.5)
    assert (limits.request_timeout_seconds, limits.idle_timeout_seconds) == (6, 7)
    assert settings.log_level == "debug"
    assert settings.isolation == IsolationSettings(
        level="landlock",
        user_ids=range(200_000, 201_000),
        allow_none=True,
        max_memory_bytes=16 * MEGABYTE,
        max_disk_bytes=17 * MEGABYTE,
        max_tasks=18,
        max_open_files=64,
    )


def test_the_trusted_proxies_of_the_command_line_win_and_a_wrong_one_is_told():
    environ = {"FMCP_TRUSTED_PROXIES": "10.0.0.5"}
    assert load_settings(environ, trusted_proxies="10.0.0.6").trusted_proxies == parse_trusted_proxies("10.0.0.6")
    assert not load_settings(environ, trusted_proxies="").trusted_proxies.networks
    with pytest.raises(ConfigurationError) as caught:
        load_settings({"FMCP_TRUSTED_PROXIES": "*"}, trusted_proxies="0.0.0.0/0")
    assert "--trusted-proxies must be addresses and networks" in caught.value.why
    assert "FMCP_TRUSTED_PROXIES must be addresses and networks" in caught.value.why


def test_the_defaults_of_the_environment_are_those_of_the_settings():
    assert load_settings({}, port=8099) == GatewaySettings()


def test_all_faults_are_told_at_once_and_no_value_is_repeated():
    with pytest.raises(ConfigurationError) as caught:
        load_settings(
            {
                "FMCP_MAX_PROCESSES": "canary",
                "FMCP_IDLE_TIMEOUT_SECONDS": "nan",
                "FMCP_LOG_LEVEL": "canary",
                "FMCP_ALLOWED_HOSTS": "https://canary",
                "FMCP_ALLOWED_ORIGINS": "*",
                "FMCP_PUBLIC_URL": "https://canary:canary@a.example",
                "MCP_CLIENT_SERVER_PORT": "70000",
            },
            host="0.0.0.0",
            allow_env=("FMCP_SEAL_KEYS",),
        )
    why = caught.value.why
    assert "canary" not in why
    names = "FMCP_MAX_PROCESSES FMCP_IDLE_TIMEOUT_SECONDS FMCP_LOG_LEVEL FMCP_ALLOWED_HOSTS FMCP_ALLOWED_ORIGINS "
    names += "FMCP_PUBLIC_URL MCP_CLIENT_SERVER_PORT --host --allow-env"
    assert [name for name in names.split() if name not in why] == []


@pytest.mark.parametrize(
    ("name", "value", "must_be"),
    [
        ("FMCP_ISOLATION", "docker", "one of auto, landlock, uid, namespace, none"),
        ("FMCP_ISOLATION", "landlock,uid", "one of auto, landlock, uid, namespace, none"),
        ("FMCP_UID_RANGE", "1000", "user ids of 1000 or more that nobody else has, FIRST-LAST, such as 200000-200999"),
        ("FMCP_UID_RANGE", "0-65535", "user ids of 1000 or more that nobody else has, FIRST-LAST"),
        ("FMCP_UID_RANGE", "3000-2000", "user ids of 1000 or more that nobody else has, FIRST-LAST"),
        ("FMCP_UID_RANGE", "1000-2147483647", "user ids of 1000 or more that nobody else has, FIRST-LAST"),
        ("FMCP_MAX_MEMORY_MB", "15", "megabytes, between 16 and 1048576"),
        ("FMCP_MAX_MEMORY_MB", "2G", "megabytes, between 16 and 1048576"),
        ("FMCP_MAX_DISK_MB", "1048577", "megabytes, between 16 and 1048576"),
        ("FMCP_MAX_TASKS", "0", "a whole number between 1 and 100000"),
        ("FMCP_MAX_TASKS", "-1", "a whole number between 1 and 100000"),
        ("FMCP_MAX_OPEN_FILES", "63", "a whole number between 64 and 1048576"),
        ("FMCP_MAX_OPEN_FILES", "unlimited", "a whole number between 64 and 1048576"),
    ],
)
def test_a_wrong_setting_of_the_isolation_is_refused(name: str, value: str, must_be: str):
    with pytest.raises(ConfigurationError) as caught:
        load_settings({name: value})
    assert caught.value.why.startswith(f"{name} must be {must_be}")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("FMCP_REPLICA", "gateway-1", "gateway-1"),
        ("FMCP_REPLICA", "", ""),
        ("FMCP_REPLICA", "Gateway", None),
        ("FMCP_REPLICA", "a.b", None),
        ("FMCP_REPLICA", "-a", None),
        ("FMCP_REPLICA", "a" * 33, None),
        ("FMCP_MAX_SESSIONS", " 7 ", 7),
        ("FMCP_MAX_SESSIONS", "100000", 100_000),
        ("FMCP_MAX_SESSIONS", "", 1000),
        ("FMCP_MAX_SESSIONS", "100001", None),
        ("FMCP_MAX_SESSIONS", "0", None),
        ("FMCP_MAX_SESSIONS", "5.0", None),
        ("FMCP_MAX_SESSIONS", "0x10", None),
        ("FMCP_MAX_SESSIONS", "\uff17", None),
        ("FMCP_MAX_SESSIONS", "1" * 5000, None),
        ("FMCP_MAX_BODY_BYTES", "1023", None),
        ("FMCP_MAX_BODY_BYTES", "1073741824", 1 << 30),
        ("FMCP_ALLOW_PRIVATE_PROVIDERS", "1", True),
        ("FMCP_ALLOW_PRIVATE_PROVIDERS", "Yes", True),
        ("FMCP_ALLOW_PRIVATE_PROVIDERS", "off", False),
        ("FMCP_ALLOW_PRIVATE_PROVIDERS", "2", None),
        ("FMCP_LOG_LEVEL", "Warning", "warning"),
        ("FMCP_LOG_LEVEL", "loud", None),
        ("FMCP_LOG_FORMAT", "JSON", "json"),
        ("FMCP_LOG_FORMAT", "logfmt", None),
        ("FMCP_ACCESS_LOG", "on", True),
        ("FMCP_ACCESS_LOG", "all", None),
    ],
)
def test_a_variable_is_read_or_refused(name: str, value: str, expected: object):
    if expected is None:
        with pytest.raises(ConfigurationError) as caught:
            load_settings({name: value})
        assert caught.value.why.startswith(f"{name} must be ")
        return
    settings = load_settings({name: value})
    assert getattr(settings, name.removeprefix("FMCP_").lower()) == expected


@pytest.mark.parametrize(
    ("environ", "options", "expected"),
    [
        ({}, {}, False),
        ({"FMCP_LOG_FORMAT": "json"}, {}, True),
        ({}, {"log_format": "json"}, True),
        ({"FMCP_LOG_FORMAT": "json"}, {"log_format": "text"}, False),
        ({"FMCP_LOG_LEVEL": "debug"}, {}, True),
        ({"FMCP_LOG_FORMAT": "json", "FMCP_ACCESS_LOG": "off"}, {}, False),
        ({"FMCP_ACCESS_LOG": "off"}, {"access_log": True}, True),
        ({"FMCP_ACCESS_LOG": "on"}, {"access_log": False}, False),
    ],
)
def test_calls_are_logged_for_programs_and_where_somebody_wants_it(
    environ: dict[str, str], options: dict[str, Any], expected: bool
):
    assert load_settings(environ, **options).access_log is expected


@pytest.mark.parametrize("value", ["0", "-1", "86400.1", "nan", "inf", "1e400", "soon"])
def test_a_duration_is_bounded(value: str):
    with pytest.raises(ConfigurationError, match="not valid") as caught:
        load_settings({"FMCP_IDLE_TIMEOUT_SECONDS": value})
    assert caught.value.why == "FMCP_IDLE_TIMEOUT_SECONDS must be seconds, more than 0 and at most 86400."


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "[::1]", "localhost"])
def test_a_loopback_host_needs_no_consent(host: str):
    assert not is_exposed(load_settings({}, host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "fd00::1", "box.lan"])
def test_another_host_needs_allow_insecure(host: str):
    with pytest.raises(ConfigurationError, match="not valid") as caught:
        load_settings({}, host=host)
    assert "--allow-insecure" in caught.value.why
    assert is_exposed(load_settings({}, host=host, allow_insecure=True))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://MCP.example.com:443/", "https://mcp.example.com"),
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
        ("http://[::1]:9000/", "http://[::1]:9000"),
        ("https://MCP.example.com:443/Tools/x-1/", "https://mcp.example.com/Tools/x-1"),
    ],
)
def test_a_public_url_is_kept_in_one_form(url: str, expected: str):
    assert load_settings({"FMCP_PUBLIC_URL": "https://other.example"}, public_url=url).public_url == expected


@pytest.mark.parametrize("url", ["http://localhost/tools", "http://127.0.0.1:80/tools", "https://[::1]/tools"])
def test_a_path_of_the_public_url_does_not_make_this_machine_another_one(url: str):
    assert not is_exposed(load_settings({}, public_url=url))
    assert is_exposed(load_settings({}, public_url="https://mcp.example.com/localhost"))


@pytest.mark.threat("B25")
@pytest.mark.parametrize(
    "url",
    ["http://mcp.example.com", "https://a.example/a/../b", "https://a.example?x", "https://u@a.example", "mcp.example"]
    + ["https://a.example#x", "javascript:alert(1)", "https://a.example/$(id)", "https://"],
)
def test_a_public_url_that_cannot_be_meant_is_refused(url: str):
    with pytest.raises(ConfigurationError) as caught:
        load_settings({}, public_url=url)
    assert caught.value.why.startswith("--public-url ")


@pytest.mark.parametrize(
    "settings",
    [
        load_settings({}, host="0.0.0.0", allow_insecure=True),
        load_settings({}, public_url="https://mcp.example.com"),
        load_settings({}, public_url="https://[2001:db8::1]:8443"),
    ],
    ids=["host", "public-url", "public-url-v6"],
)
def test_an_exposed_gateway_must_be_told_who_is_allowed(settings: GatewaySettings):
    with pytest.raises(ConfigurationError, match="auth block of mail does not say who is allowed"):
        check_who_is_allowed(settings, [entry()])
    check_who_is_allowed(settings, [entry(allow_any_user=True)])
    check_who_is_allowed(settings, [ServerEntry(name="open", command="x")])


def test_on_this_machine_alone_nobody_must_be_named():
    check_who_is_allowed(load_settings({}), [entry()])
    check_who_is_allowed(load_settings({}, public_url="http://[::1]:8099"), [entry()])


OPEN = ServerEntry(name="tools", command="x")


@pytest.mark.parametrize(
    "settings",
    [
        load_settings({}, public_url="https://mcp.example.com"),
        load_settings({"FMCP_PUBLIC_URL": "https://mcp.example.com"}),
        load_settings({}, public_url="https://[2001:db8::1]:8443"),
        GatewaySettings(host="0.0.0.0"),
    ],
    ids=["option", "variable", "v6", "host"],
)
def test_a_public_gateway_must_be_guarded_where_a_package_is_open(settings: GatewaySettings):
    with pytest.raises(ConfigurationError) as caught:
        check_is_guarded(settings, [entry(), OPEN, ServerEntry(name="more", command="x")])
    assert caught.value.what == "Nothing guards tools, more, and the gateway can be reached from other machines."
    exposing = settings.public_url if settings.host is None else f"It listens on {settings.host}"
    assert exposing in caught.value.why
    for option in ("--oauth", "--secure", "--allow-insecure", "auth block"):
        assert option in caught.value.hint
    check_is_guarded(settings, [entry()])
    check_is_guarded(settings, [])


@pytest.mark.parametrize(
    "settings",
    [
        load_settings({}),
        load_settings({}, public_url="http://[::1]:8099"),
        load_settings({}, public_url="https://mcp.example.com", oauth=True),
        load_settings({}, public_url="https://mcp.example.com", secure=True),
        load_settings({}, public_url="https://mcp.example.com", allow_insecure=True),
        load_settings({}, host="0.0.0.0", secure=True),
    ],
    ids=["local", "local-v6", "oauth", "secure", "insecure", "host-secure"],
)
def test_a_guarded_gateway_a_local_one_and_one_that_is_meant_to_be_open_may_have_open_packages(
    settings: GatewaySettings,
):
    check_is_guarded(settings, [entry(), OPEN])


@pytest.mark.promise(86)
def test_the_environment_is_a_snapshot(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GOOGLE_CLIENT_ID", "before")
    environ = read_environment()
    monkeypatch.setenv("GOOGLE_CLIENT_ID", "after")
    assert environ["GOOGLE_CLIENT_ID"] == "before"
    with pytest.raises(TypeError):
        environ["GOOGLE_CLIENT_ID"] = "x"  # type: ignore[index]
