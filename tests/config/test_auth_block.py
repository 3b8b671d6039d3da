"""The `auth` block: what is documented is read, and everything hostile or mistaken is a load error that names it."""

import pytest

from fluidmcp.config.auth_block import AuthBlock
from fluidmcp.config.providers.table import PRESETS
from fluidmcp.errors import ConfigurationError
from tests.entries import read_entry

DOCUMENTED: dict[str, object] = {
    "type": "oauth2",
    "flow": "pkce",
    "authorization_url": "https://accounts.google.com/o/oauth2/v2/auth",
    "token_url": "https://oauth2.googleapis.com/token",
    "scopes": ["https://www.googleapis.com/auth/gmail.readonly"],
    "client_id_env": "GOOGLE_CLIENT_ID",
    "client_secret_env": "GOOGLE_CLIENT_SECRET",
    "env_var_name": "GMAIL_ACCESS_TOKEN",
}
CANARY = "canary-5f1c"


def load(changes: dict[str, object] | None = None, *, without: str = "", allow_env: tuple[str, ...] = ()) -> AuthBlock:
    block = {key: value for key, value in (DOCUMENTED | (changes or {})).items() if key != without}
    entry = read_entry(
        "gmail-mock",
        {"command": "node", "args": ["dist/index.js"], "auth": block},
        source="metadata.json",
        allowed_env_names=frozenset(allow_env),
    )
    assert isinstance(entry.auth, AuthBlock)
    return entry.auth


def refuse(changes: dict[str, object], *, without: str = "", allow_env: tuple[str, ...] = ()) -> str:
    """Why the block is refused; no value of the file is repeated."""
    with pytest.raises(ConfigurationError) as caught:
        load(changes, without=without, allow_env=allow_env)
    error = caught.value
    assert CANARY not in f"{error.what} {error.why} {error.hint}"
    return error.why


@pytest.mark.promise(71, 77, 78, 79, 80, 81, 82, 83, 84, 85)
def test_the_documented_block_is_read_as_documented():
    assert load() == AuthBlock(
        authorization_url="https://accounts.google.com/o/oauth2/v2/auth",
        token_url="https://oauth2.googleapis.com/token",
        scopes=("https://www.googleapis.com/auth/gmail.readonly",),
        client_id_env="GOOGLE_CLIENT_ID",
        client_secret_env="GOOGLE_CLIENT_SECRET",
        env_var_name="GMAIL_ACCESS_TOKEN",
    )


@pytest.mark.promise(83)
def test_a_public_client_needs_no_secret():
    assert load(without="client_secret_env").client_secret_env is None


def test_the_additions_to_the_documented_block_are_read():
    block = load(
        {
            "scopes": ["openid", "mail"],
            "extra_params": {"audience": "api.atlassian.com", "prompt": "consent"},
            "scope_separator": ",",
            "token_endpoint_auth_method": "basic",
            "issuer": "https://issuer.example/tenant",
            "introspection_url": "https://issuer.example/introspect?v=2",
            "allowed_subjects": ["subject-1"],
            "allowed_domains": ["Example.COM"],
        }
    )
    assert block.extra_params == (("audience", "api.atlassian.com"), ("prompt", "consent"))
    assert block.scope_separator == ","
    assert block.token_endpoint_auth_method == "basic"
    assert block.issuer == "https://issuer.example/tenant"
    assert block.introspection_url == "https://issuer.example/introspect?v=2"
    assert block.allowed_subjects == ("subject-1",)
    assert block.allowed_domains == ("example.com",)
    assert block.names_who_is_allowed
    assert load({"client_id": "abc.apps"}, without="client_id_env").client_id == "abc.apps"


@pytest.mark.promise(77, 78, 79, 80, 84, 124)
@pytest.mark.parametrize("key", ["type", "flow", "authorization_url", "token_url", "env_var_name", "client_id_env"])
def test_a_key_that_the_login_needs_cannot_be_left_out(key: str):
    assert f"mcpServers.gmail-mock.auth.{key} is missing" in refuse({}, without=key)


@pytest.mark.promise(77, 78)
@pytest.mark.parametrize(("key", "value"), [("type", "oauth1"), ("type", "apikey"), ("flow", "implicit"), ("flow", 1)])
def test_no_other_kind_of_login_is_accepted(key: str, value: object):
    assert f"mcpServers.gmail-mock.auth.{key} must be" in refuse({key: value})


@pytest.mark.promise(124)
@pytest.mark.parametrize("value", [None, True, "oauth2", [], {}])
def test_something_that_is_not_an_auth_object_never_leaves_the_package_open(value: object):
    with pytest.raises(ConfigurationError, match="gmail-mock"):
        read_entry("gmail-mock", {"command": "node", "auth": value})


HOSTILE_URLS = [
    f"javascript:alert('{CANARY}')",
    "file:///etc/passwd",
    "data:text/html,x",
    f"http://{CANARY}.example/authorize",
    "http://10.0.0.1/authorize",
    "http://127.1/authorize",
    "http://0x7f.1/authorize",
    "http://localhost.evil.example/authorize",
    "http://localhost@evil.example/authorize",
    f"https://user:{CANARY}@provider.example/authorize",
    "https://@provider.example/authorize",
    "https://provider.example/authorize#fragment",
    "https://provider.example/authorize#",
    "-https://provider.example/authorize",
    "--help",
    "https://provider.example/$(touch /tmp/x)",
    "https://provider.example/`id`",
    "https://provider.example/a b",
    " https://provider.example/authorize",
    "https://provider.example/authorize\n",
    "https://provider.example/\tauthorize",
    "https://provider.example/\x00",
    "https://provider.example/\x1b[2J",
    "https://provider.example\\@evil.example/",
    "https://prövider.example/authorize",
    "https://provider.example:0/authorize",
    "https://provider.example:99999/authorize",
    "https://provider.example:port/authorize",
    "https://[::1/authorize",
    "https:///authorize",
    "https:provider.example",
    "//provider.example/authorize",
    "https://%65vil.example/authorize",
    "https://-provider.example/authorize",
    "",
    "https://provider.example/" + "a" * 3000,
]


@pytest.mark.threat("B25")
@pytest.mark.parametrize("key", ["authorization_url", "token_url", "issuer", "introspection_url"])
@pytest.mark.parametrize("url", HOSTILE_URLS)
def test_a_hostile_address_is_refused_when_the_package_is_loaded(key: str, url: str):
    assert f"mcpServers.gmail-mock.auth.{key} " in refuse({key: url})


@pytest.mark.threat("B25")
@pytest.mark.parametrize("url", ["http://localhost:9000/a", "http://127.0.0.1/a", "http://[::1]:9000/a"])
def test_plain_http_is_accepted_for_loopback(url: str):
    block = load({"authorization_url": url, "token_url": url})
    assert (block.authorization_url, block.token_url) == (url, url)


@pytest.mark.threat("B25", "D13")
@pytest.mark.parametrize("query", ["state=fixed", "a=b&redirect_uri=x", "STATE=x", "code_challenge"])
def test_an_address_cannot_bring_protocol_parameters_in_its_query(query: str):
    assert "authorization_url must not set the protocol parameter" in refuse(
        {"authorization_url": f"https://provider.example/authorize?{query}"}
    )


@pytest.mark.threat("B27")
@pytest.mark.parametrize(
    "name",
    ["", "A=B", "x;y", "lower", "1A", "A B", "A\n", "_A", "A-B", "Ä", "A" * 65]
    + ["LD_PRELOAD", "LD_AUDIT", "PATH", "PYTHONPATH", "PYTHONSTARTUP", "NODE_OPTIONS", "NODE_PATH", "BASH_ENV", "ENV"]
    + ["HOME", "IFS", "PERL5OPT", "RUBYOPT", "JAVA_TOOL_OPTIONS", "GIT_SSH_COMMAND", "SSL_CERT_FILE", "HTTPS_PROXY"]
    + ["NPM_CONFIG_REGISTRY", "UV_INDEX_URL", "GLIBC_TUNABLES", "DYLD_INSERT_LIBRARIES", "FMCP_SEAL_KEYS"],
)
def test_a_token_is_never_handed_over_in_a_variable_that_steers_the_process(name: str):
    assert "mcpServers.gmail-mock.auth.env_var_name " in refuse({"env_var_name": name})


@pytest.mark.threat("B28")
@pytest.mark.parametrize("key", ["client_secret", "clientSecret", "secret", "password", "access_token", "api_key"])
def test_a_literal_secret_is_refused_without_repeating_it(key: str):
    why = refuse({key: CANARY})
    assert f"mcpServers.gmail-mock.auth.{key} looks like a literal secret" in why
    assert "client_secret_env" in why


@pytest.mark.threat("B28")
def test_a_secret_in_place_of_a_variable_name_is_refused_without_repeating_it():
    assert "not the value itself" in refuse({"client_secret_env": f"GOCSPX-{CANARY}"})


def test_an_unknown_key_is_a_load_error():
    assert "mcpServers.gmail-mock.auth.tokenurl is not a known key" in refuse({"tokenurl": CANARY})


@pytest.mark.threat("D13")
@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("client_id_env", "FMCP_SEAL_KEYS"),
        ("client_id_env", "FMCP_OAUTH_CLIENT_ID"),
        ("client_id_env", "AWS_SECRET_ACCESS_KEY"),
        ("client_id_env", "GOOGLE_CLIENT_SECRET"),
        ("client_secret_env", "DATABASE_URL"),
        ("client_secret_env", "FMCP_OAUTH_CLIENT_SECRET"),
    ],
)
def test_a_package_cannot_ask_for_another_secret_of_the_operator(key: str, name: str):
    assert f"mcpServers.gmail-mock.auth.{key} must " in refuse({key: name})


@pytest.mark.threat("D13")
def test_the_operator_can_allow_another_variable_but_never_one_of_the_gateway():
    assert load({"client_id_env": "MY_APP"}, allow_env=("MY_APP",)).client_id_env == "MY_APP"
    assert "FMCP_" in refuse({"client_id_env": "FMCP_SEAL_KEYS"}, allow_env=("FMCP_SEAL_KEYS",))
    assert "name the same variable" in refuse({"client_id_env": "X", "client_secret_env": "X"}, allow_env=("X",))


@pytest.mark.threat("D13")
@pytest.mark.parametrize(
    "name",
    ["state", "State", "client_id", "client_secret", "redirect_uri", "response_type", "response_mode", "nonce", "scope"]
    + ["code", "code_challenge", "code_challenge_method", "request", "request_uri", "grant_type", "resource"],
)
def test_extra_parameters_cannot_override_the_protocol(name: str):
    assert f"mcpServers.gmail-mock.auth.extra_params.{name} is a parameter of the protocol" in refuse(
        {"extra_params": {name: CANARY}}
    )


@pytest.mark.parametrize("params", [{"a b": "x"}, {"a": 1}, {"a": None}, {"a": "x\r\ny"}, {"a": "é"}, ["a"], "a=b"])
def test_extra_parameters_are_plain_names_and_strings(params: object):
    assert "mcpServers.gmail-mock.auth.extra_params" in refuse({"extra_params": params})


@pytest.mark.promise(81)
@pytest.mark.parametrize("scopes", ["a b", ["a b"], ["a", 1], [""], ['a"b'], ["a\\b"]])
def test_scopes_are_a_list_of_single_scopes(scopes: object):
    assert "mcpServers.gmail-mock.auth.scopes" in refuse({"scopes": scopes})


@pytest.mark.parametrize("key", ["allowed_subjects", "allowed_domains"])
def test_a_list_of_people_is_refused_where_nothing_tells_who_somebody_is(key: str):
    why = refuse({key: ["example.com"]})
    assert f"mcpServers.gmail-mock.auth.{key} cannot be checked, because nothing tells who somebody is" in why
    assert load({key: ["example.com"], "scopes": ["openid"]}).names_who_is_allowed
    assert load({key: ["example.com"], "introspection_url": "https://a.example/i"}).names_who_is_allowed


@pytest.mark.parametrize("provider", ["github", "gitlab", "slack", "atlassian"])
def test_mail_domains_are_refused_where_the_provider_tells_no_mail_address(provider: str):
    preset = PRESETS[provider]
    login, token = (url.replace("{host}", f"{provider}.com") for url in (preset.authorization_url, preset.token_url))
    own: dict[str, object] = {"authorization_url": login, "token_url": token, "scopes": ["api"]}
    assert load({**own, "allowed_subjects": ["4711"]}).names_who_is_allowed
    why = refuse({**own, "allowed_domains": ["example.com"]})
    assert "auth.allowed_domains names nobody, because this provider tells no mail address" in why
    told = {**own, "scopes": ["api", "openid", "email"], "allowed_domains": ["example.com"]}
    if provider == "github":
        assert "tells no mail address" in refuse(told)
    else:
        assert load(told).names_who_is_allowed


def test_contradictions_are_refused():
    people: dict[str, object] = {"scopes": ["openid"], "allowed_subjects": ["a"], "allow_any_user": True}
    assert "allow_any_user is true although" in refuse(people)
    assert "lets nobody in" in refuse({"allowed_domains": []})
    assert "keep one of them" in refuse({"client_id": "literal"})
    assert "keep one of them" in refuse({"token_endpoint_auth_method": "none"})
    assert "needs a client_secret_env" in refuse({"token_endpoint_auth_method": "post"}, without="client_secret_env")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("token_endpoint_auth_method", "private_key_jwt"),
        ("scope_separator", ";"),
        ("allow_any_user", "yes"),
        ("allowed_domains", ["@example.com"]),
        ("allowed_domains", ["*.example.com"]),
        ("allowed_domains", ["com"]),
        ("allowed_subjects", [" "]),
        ("client_id", "a b"),
        ("issuer", "https://a.example/?x=1"),
    ],
)
def test_values_that_cannot_be_meant_are_refused(key: str, value: object):
    assert f"mcpServers.gmail-mock.auth.{key}" in refuse({key: value})


def test_all_faults_of_a_block_are_told_at_once():
    why = refuse({"token_url": "ftp://x", "flow": "x", "surprise": 1})
    assert all(key in why for key in ("auth.token_url", "auth.flow", "auth.surprise"))


def test_the_ways_to_check_tokens_are_read():
    block = load(
        {
            "token_url": "https://as.example/token",
            "issuer": "https://as.example",
            "validation": "jwt",
            "audience": "https://gateway.example/mcp",
            "jwks_uri": "https://as.example/keys",
            "userinfo_url": "https://as.example/me",
            "revocation_url": "https://as.example/revoke",
        }
    )
    assert (block.validation, block.audience) == ("jwt", "https://gateway.example/mcp")
    assert (block.jwks_uri, block.userinfo_url) == ("https://as.example/keys", "https://as.example/me")
    assert block.revocation_url == "https://as.example/revoke"
    assert not block.allow_unbound_tokens
    assert load({"validation": "issued_here"}).validation == "issued_here"


PLAIN: dict[str, object] = {"token_url": "https://as.example/token"}


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"validation": "jwt"}, "audience"),
        ({"validation": "jwt", "audience": "a"}, "issuer"),
        ({"validation": "introspection"}, "introspection_url"),
        ({"validation": "userinfo"}, "userinfo_url"),
        ({"validation": "trust"}, "validation"),
        ({"validation": True}, "validation"),
        ({"audience": "a b"}, "audience"),
        ({"audience": ["a"]}, "audience"),
        ({"jwks_uri": "https://as.example/keys"}, "jwks_uri"),
        ({"jwks_uri": "https://as.example/keys", "issuer": "https://as.example"}, "jwks_uri"),
        ({"jwks_uri": "http://as.example/keys", "issuer": "https://as.example", "audience": "a"}, "jwks_uri"),
        ({"userinfo_url": "file:///etc/passwd"}, "userinfo_url"),
        ({"revocation_url": "https://u:p@as.example/"}, "revocation_url"),
        ({"allow_unbound_tokens": True}, "allow_unbound_tokens"),
        ({"allow_unbound_tokens": "yes"}, "allow_unbound_tokens"),
        (
            {"allow_unbound_tokens": True, "userinfo_url": "https://as.example/me", "validation": "issued_here"},
            "allow_unbound_tokens",
        ),
    ],
)
def test_a_way_to_check_tokens_that_cannot_work_is_refused(changes: dict[str, object], key: str):
    assert f"mcpServers.gmail-mock.auth.{key} " in refuse(PLAIN | changes)


def test_github_wants_the_secret_to_check_tokens():
    assert "auth.client_secret_env is missing" in refuse({"validation": "github"}, without="client_secret_env")


def test_a_list_of_people_is_fine_where_the_provider_names_them():
    people: dict[str, object] = {"allowed_subjects": ["583231"]}
    for changes in (
        {"token_url": "https://github.com/login/oauth/access_token"},
        {"token_url": "https://gitlab.com/oauth/token"},
        {"token_url": "https://slack.com/api/oauth.v2.access"},
        {"token_url": "https://as.example/t", "userinfo_url": "https://as.example/me"},
        {"token_url": "https://x.auth0.com/oauth/token", "audience": "api"},
    ):
        assert load(people | changes).names_who_is_allowed


def test_what_concerns_mcp_clients_is_read():
    words = {"mail.read": "Read your mail"}
    scopes = ["openid", "mail.read"]
    block = load({"scopes": scopes, "required_scopes": ["mail.read"], "scope_descriptions": words})
    assert (block.required_scopes, block.scope_descriptions) == (("mail.read",), (("mail.read", "Read your mail"),))
    assert block.accept_provider_tokens
    assert not load({"accept_provider_tokens": False}).accept_provider_tokens


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("required_scopes", ["mail.send"]),
        ("required_scopes", "mail.read"),
        ("required_scopes", ["a b"]),
        ("scope_descriptions", ["Read"]),
        ("scope_descriptions", {"openid": 7}),
        ("scope_descriptions", {"openid": ""}),
        ("scope_descriptions", {"openid": CANARY * 30}),
        ("scope_descriptions", {"openid": "a\u202eb"}),
        ("accept_provider_tokens", "no"),
    ],
)
def test_mistakes_in_what_concerns_mcp_clients_are_named(key: str, value: object):
    assert f"mcpServers.gmail-mock.auth.{key}" in refuse({key: value})
