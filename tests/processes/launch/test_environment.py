from pathlib import Path

import pytest

from fluidmcp.config.entries import AuthBlock, EnvVariable, ServerEntry
from fluidmcp.errors import ConfigurationError
from fluidmcp.processes.launch.environment import build_environment, forget_caches

GATEWAY = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/home/operator",
    "USER": "operator",
    "SHELL": "/bin/zsh",
    "LANG": "de_DE.UTF-8",
    "LC_TIME": "C",
    "TZ": "Europe/Berlin",
    "HTTPS_PROXY": "http://proxy.example:3128",
    "no_proxy": "localhost",
    "SSL_CERT_FILE": "/etc/ssl/company.pem",
    "NODE_EXTRA_CA_CERTS": "/etc/ssl/company.pem",
    "NPM_CONFIG_REGISTRY": "https://packages.example/npm/",
    "UV_DEFAULT_INDEX": "https://packages.example/simple/",
    "FMCP_SEAL_KEYS": "canary-seal",
    "FMCP_BEARER_TOKEN": "canary-bearer",
    "OTHER_CLIENT_SECRET": "canary-other",
    "GOOGLE_CLIENT_SECRET": "canary-google",
    "AWS_SECRET_ACCESS_KEY": "canary-aws",
    "LD_PRELOAD": "/tmp/canary.so",
    "UV_EXTRA_INDEX_URL": "https://user:canary-index@packages.example/simple/",
}
AUTH = AuthBlock(
    authorization_url="https://provider.example/authorize",
    token_url="https://provider.example/token",
    env_var_name="MAIL_TOKEN",
    client_secret_env="GOOGLE_CLIENT_SECRET",
)
PERSONAL = {"MAIL_TOKEN": "the-token"}


def entry(auth: AuthBlock | None = None, **env: EnvVariable) -> ServerEntry:
    return ServerEntry(name="mail", command="mail-server", env=tuple(env.items()), auth=auth, source="config.json")


@pytest.mark.threat("B36")
@pytest.mark.parametrize("personal", [None, PERSONAL])
def test_a_server_process_gets_no_secret_of_the_gateway_or_of_other_packages(personal: dict[str, str] | None) -> None:
    environment = build_environment(entry(AUTH), GATEWAY, personal=personal)
    assert not [name for name in environment if name.startswith("FMCP_")]
    assert "canary" not in repr(environment)


def test_what_a_program_needs_on_this_machine_passes() -> None:
    environment = build_environment(entry(), GATEWAY)
    for name in ("PATH", "LANG", "LC_TIME", "TZ", "HTTPS_PROXY", "no_proxy", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"):
        assert environment[name] == GATEWAY[name]
    for name in ("NPM_CONFIG_REGISTRY", "UV_DEFAULT_INDEX", "HOME", "USER", "SHELL"):
        assert environment[name] == GATEWAY[name]


@pytest.mark.promise(84)
def test_the_token_is_in_the_variable_that_the_entry_names() -> None:
    assert build_environment(entry(AUTH), GATEWAY, personal=PERSONAL)["MAIL_TOKEN"] == "the-token"


def test_the_token_variable_comes_from_nowhere_else() -> None:
    with_value = entry(AUTH, MAIL_TOKEN=EnvVariable(value="of-the-operator"))
    assert "MAIL_TOKEN" not in build_environment(with_value, {**GATEWAY, "MAIL_TOKEN": "global"})
    assert build_environment(with_value, GATEWAY, personal=PERSONAL)["MAIL_TOKEN"] == "the-token"


def test_a_known_person_does_not_meet_the_operator() -> None:
    for environment in (
        build_environment(entry(AUTH), GATEWAY, personal=PERSONAL),
        build_environment(entry(), GATEWAY, person_known=True),
    ):
        assert not {"HOME", "USER", "LOGNAME", "SHELL", "TERM", "XDG_CONFIG_HOME"} & environment.keys()


def test_downloads_are_kept_where_the_operator_keeps_them() -> None:
    environment = build_environment(entry(AUTH), GATEWAY, personal=PERSONAL)
    assert environment["npm_config_cache"] == "/home/operator/.npm"
    assert environment["UV_CACHE_DIR"] == "/home/operator/.cache/uv"
    assert environment["UV_PYTHON_INSTALL_DIR"] == "/home/operator/.local/share/uv/python"
    moved = {**GATEWAY, "NPM_CONFIG_CACHE": "/big/npm", "XDG_CACHE_HOME": "/big/cache", "XDG_DATA_HOME": "relative"}
    environment = build_environment(entry(AUTH), moved, personal=PERSONAL)
    assert (environment["NPM_CONFIG_CACHE"], "npm_config_cache" in environment) == ("/big/npm", False)
    assert environment["UV_CACHE_DIR"] == "/big/cache/uv"
    assert environment["UV_TOOL_DIR"] == "/home/operator/.local/share/uv/tools"


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("registry=https://packages.example/npm/\nproxy=http://proxy.example:3128\n", True),
        ("registry=https://packages.example/npm/\n//packages.example/npm/:_authToken=canary\n", False),
        ("registry=https://user:canary@packages.example/npm/\n", False),
    ],
)
def test_the_operators_npm_settings_pass_unless_they_hold_a_credential(tmp_path: Path, text: str, passes: bool) -> None:
    (tmp_path / ".npmrc").write_text(text)
    environment = build_environment(entry(AUTH), {"HOME": str(tmp_path)}, personal=PERSONAL)
    assert environment.get("npm_config_userconfig") == (str(tmp_path / ".npmrc") if passes else None)


def test_without_a_person_the_home_itself_leads_to_the_settings(tmp_path: Path) -> None:
    (tmp_path / ".npmrc").write_text("registry=https://packages.example/npm/\n")
    assert "npm_config_userconfig" not in build_environment(entry(), {"HOME": str(tmp_path)})


def test_variables_of_the_entry_are_set_or_passed_by_name() -> None:
    asked = entry(REGION=EnvVariable(value="eu"), OTHER_CLIENT_SECRET=EnvVariable(required=True), ABSENT=EnvVariable())
    environment = build_environment(asked, GATEWAY)
    assert environment["REGION"] == "eu"
    assert environment["OTHER_CLIENT_SECRET"] == "canary-other"
    assert "ABSENT" not in environment


@pytest.mark.parametrize("environ", [{}, {"API_KEY": ""}])
def test_a_missing_required_variable_is_named(environ: dict[str, str]) -> None:
    asked = entry(API_KEY=EnvVariable(required=True, description="from the settings page"))
    with pytest.raises(ConfigurationError) as caught:
        build_environment(asked, environ)
    assert "API_KEY" in caught.value.what
    assert "from the settings page" in caught.value.what
    assert "config.json" in caught.value.hint


@pytest.mark.threat("B36")
@pytest.mark.parametrize("name", ["FMCP_SEAL_KEYS", "fmcp_seal_keys"])
def test_an_entry_cannot_ask_for_a_variable_of_the_gateway(name: str) -> None:
    asked = ServerEntry(name="mail", command="mail-server", env=((name, EnvVariable()),))
    with pytest.raises(ConfigurationError) as caught:
        build_environment(asked, GATEWAY)
    assert name in caught.value.what


def test_caches_that_may_not_be_written_are_forgotten_in_any_case() -> None:
    environment = build_environment(entry(AUTH), {**GATEWAY, "PIP_CACHE_DIR": "/big/pip"}, personal=PERSONAL)
    kept = {name: value for name, value in environment.items() if "cache" not in name.lower() and name != "UV_TOOL_DIR"}
    assert len(kept) < len(environment)
    environment["NPM_CONFIG_CACHE"] = environment["npm_config_cache"]
    forget_caches(environment)
    assert environment == kept
    assert "UV_PYTHON_INSTALL_DIR" in environment, "it is where programs are, and no cache"
