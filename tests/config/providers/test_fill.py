"""The key `provider` of an auth block: what it fills in, what wins over it, and what is wrong with one."""

import pytest

from fluidmcp.config.auth_block import AuthBlock, known_of
from fluidmcp.config.known_providers import KnownProvider
from fluidmcp.errors import ConfigurationError
from tests.entries import read_entry

TENANT = "00000000-0000-0000-0000-000000000000"
CANARY = "canary-5f1c"


def load(**auth: object) -> AuthBlock:
    entry = read_entry("mine", {"command": "x", "auth": {"env_var_name": "MY_TOKEN", **auth}})
    assert isinstance(entry.auth, AuthBlock)
    return entry.auth


def refuse(**auth: object) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(**auth)
    assert CANARY not in f"{caught.value.what} {caught.value.why} {caught.value.hint}"
    return caught.value.why


def test_three_keys_are_a_complete_block():
    assert load(provider="github", scopes=["repo"]) == AuthBlock(
        provider="github",
        authorization_url="https://github.com/login/oauth/authorize",
        token_url="https://github.com/login/oauth/access_token",
        scopes=("repo",),
        client_id_env="GITHUB_CLIENT_ID",
        client_secret_env="GITHUB_CLIENT_SECRET",
        env_var_name="MY_TOKEN",
    )


def test_each_key_of_the_block_wins_over_the_preset():
    block = load(
        provider="notion",
        authorization_url="https://notion.example/authorize",
        token_url="https://notion.example/token",
        revocation_url=None,
        scopes=["a", "b"],
        scope_separator=",",
        client_id_env="OTHER_CLIENT_ID",
        client_secret_env="OTHER_CLIENT_SECRET",
        token_endpoint_auth_method="post",
        token_request="form",
        send_pkce=True,
        extra_params={"owner": "workspace", "more": "1"},
    )
    assert block == AuthBlock(
        provider="notion",
        authorization_url="https://notion.example/authorize",
        token_url="https://notion.example/token",
        scopes=("a", "b"),
        scope_separator=",",
        client_id_env="OTHER_CLIENT_ID",
        client_secret_env="OTHER_CLIENT_SECRET",
        token_endpoint_auth_method="post",
        extra_params=(("owner", "workspace"), ("more", "1")),
        env_var_name="MY_TOKEN",
    )


def test_parameters_of_the_block_are_added_to_those_of_the_preset():
    block = load(provider="google", extra_params={"prompt": "select_account"})
    assert block.extra_params == (("access_type", "offline"), ("prompt", "select_account"))


def test_the_values_of_the_operator_stand_in_the_addresses():
    block = load(provider="cognito", domain="login.example.com:8443", region="eu-west-1", pool="eu-west-1_AbC")
    assert block.token_url == "https://login.example.com:8443/oauth2/token"
    assert block.issuer == "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_AbC"
    assert load(provider="gitlab", host="git.example.com").token_url == "https://git.example.com/oauth/token"
    assert load(provider="gitlab").token_url == "https://gitlab.com/oauth/token"


def test_another_name_of_a_provider_is_the_same_provider_with_variables_of_that_name():
    block = load(provider="entra", tenant=TENANT)
    assert block.token_url == f"https://login.microsoftonline.com/{TENANT}/oauth2/v2.0/token"
    assert block.client_id_env == "ENTRA_CLIENT_ID"


def test_a_client_id_in_the_block_needs_no_variable():
    block = load(provider="airtable", client_id="abc", token_endpoint_auth_method="none")
    assert (block.client_id, block.client_id_env, block.client_secret_env) == ("abc", None, None)


def test_a_block_without_secret_says_so_with_null():
    block = load(provider="spotify", client_secret_env=None)
    assert (block.client_secret_env, block.token_endpoint_auth_method) == (None, None)


def test_tokens_go_only_to_the_provider_that_the_block_names():
    block = load(provider="figma")
    assert block.refresh_url == "https://api.figma.com/v1/oauth/refresh"
    assert load(provider="figma", token_url="https://api.figma.com/v2/token").refresh_url == block.refresh_url
    assert load(provider="figma", token_url="https://figma.example/token").refresh_url is None
    assert load(provider="notion", token_url="https://notion.example/token").revocation_url is None
    okta = load(provider="okta", domain="your-domain.okta.com")
    assert okta.revocation_url is not None and okta.userinfo_url is not None
    other = load(provider="okta", domain="your-domain.okta.com", token_url="https://your-domain.okta.com.example/t")
    assert (other.revocation_url, other.userinfo_url) == (None, None)
    assert other.issuer == okta.issuer


def test_who_somebody_is_where_the_answer_is_in_other_words_is_no_key_of_the_block():
    assert load(provider="slack").userinfo_url is None
    assert load(provider="atlassian").userinfo_url is None


def test_an_unknown_provider_is_refused_with_the_nearest_names():
    why = refuse(provider="githb")
    assert why.startswith("mcpServers.mine.auth.provider names no preset; did you mean ")
    assert '"github"' in why and why.endswith('"?')
    assert "is missing" not in why
    assert '"fluidmcp providers" lists' in refuse(provider=f"x-{CANARY}-x")
    assert "provider is empty" in refuse(provider="")
    assert "provider must be a string" in refuse(provider=7)


def test_a_missing_value_is_named_with_what_it_is():
    why = refuse(provider="microsoft")
    assert 'auth.tenant is missing: the provider "microsoft" needs the directory (tenant) ID' in why
    why = refuse(provider="cognito", domain="login.example.com")
    assert "auth.region is missing" in why and "auth.pool is missing" in why


@pytest.mark.threat("B19")
@pytest.mark.parametrize(
    ("provider", "key", "value"),
    [
        ("gitlab", "host", f"{CANARY}@evil.example"),
        ("gitlab", "host", "https://git.example.com"),
        ("gitlab", "host", "git.example.com/evil.example"),
        ("gitlab", "host", "git.example.com?x="),
        ("gitlab", "host", "git.example.com#"),
        ("gitlab", "host", "git.example.com:"),
        ("gitlab", "host", "git.example.com:0"),
        ("gitlab", "host", "git.example.com:65536"),
        ("gitlab", "host", "Git.example.com"),
        ("gitlab", "host", ""),
        ("gitlab", "host", "git.example.com\n"),
        ("zendesk", "subdomain", "evil.example/x"),
        ("zendesk", "subdomain", "evil.example#"),
        ("zendesk", "subdomain", "{subdomain}"),
        ("okta", "server", "../../x"),
        ("okta", "server", ".."),
        ("microsoft", "tenant", "contoso.com"),
        ("microsoft", "tenant", f"{TENANT}/../x"),
    ],
)
def test_a_value_cannot_change_whom_the_gateway_talks_to(provider: str, key: str, value: str):
    needed = {"okta": {"domain": "your-domain.okta.com"}}.get(provider, {})
    assert f"mcpServers.mine.auth.{key} must be" in refuse(**{"provider": provider, **needed, key: value})


def test_a_value_of_another_provider_is_an_unknown_key():
    assert "auth.tenant is not a known key" in refuse(provider="google", tenant=TENANT)
    assert "auth.host is not a known key" in refuse(
        host="x",
        type="oauth2",
        flow="pkce",
        authorization_url="https://a.example/a",
        token_url="https://a.example/t",
        client_id="c",
    )


def test_a_login_without_pkce_needs_a_client_secret():
    assert not load(provider="notion").send_pkce
    assert "auth.send_pkce is false, which needs a client secret" in refuse(provider="notion", client_secret_env=None)


def test_a_self_managed_gitlab_or_github_is_asked_about_its_own_tokens():
    assert known_of(load(provider="gitlab")) == KnownProvider(check="gitlab")
    own = known_of(load(provider="gitlab", host="git.example.com"))
    assert own == KnownProvider(check="gitlab", instance_url="https://git.example.com")
    own = known_of(load(provider="github", host="git.example.com"))
    assert own == KnownProvider(check="github", instance_url="https://git.example.com")


def test_a_block_that_names_no_provider_is_what_it_was():
    block = load(
        type="oauth2",
        flow="pkce",
        authorization_url="https://api.notion.com/v1/oauth/authorize",
        token_url="https://api.notion.com/v1/oauth/token",
        client_id="c",
    )
    assert block == AuthBlock(
        authorization_url="https://api.notion.com/v1/oauth/authorize",
        token_url="https://api.notion.com/v1/oauth/token",
        client_id="c",
        env_var_name="MY_TOKEN",
    )
