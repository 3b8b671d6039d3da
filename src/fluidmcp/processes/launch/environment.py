"""The environment of a server process: an allow-list out of the gateway's own, then what the entry asks for.

Nothing is inherited because it happens to be there. What passes is what a program needs to run on this machine and
what `npx` and `uvx` need to find the operator's proxy, certificates, package index and caches, so that a private HOME
does not make every person download every package again. Variables and files that hold a credential of the operator
(an index address with a user name in it, a `~/.npmrc` with a token) do not pass; an operator whose index asks for a
login names the variable in the entry's `env` (`npm_config_userconfig`, `UV_DEFAULT_INDEX`), which hands it to that one
package knowingly. Proxy addresses pass as they are: without them nothing works behind a proxy. All this is about what
a process is *given*; programs of one user can read that user's files whatever their environment says.
"""

import os.path
import re
from collections.abc import Mapping

from fluidmcp.config.entries import EnvVariable, ServerEntry
from fluidmcp.errors import ConfigurationError

_GATEWAY_PREFIX = "FMCP_"

_MACHINE_NAMES = frozenset(
    {
        "PATH",
        "TZ",
        "TZDIR",
        "LANG",
        "LANGUAGE",
        # Certificates of a company's proxy or own authority.
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
        "NODE_EXTRA_CA_CERTS",
        "NODE_USE_SYSTEM_CA",
        "UV_NATIVE_TLS",
        "UV_SYSTEM_CERTS",
        "PIP_CERT",
        # How package managers behave, and where version managers keep what their shims on PATH start.
        "UV_OFFLINE",
        "UV_LINK_MODE",
        "UV_HTTP_TIMEOUT",
        "UV_PYTHON",
        "UV_PYTHON_PREFERENCE",
        "UV_PYTHON_DOWNLOADS",
        "UV_INDEX_STRATEGY",
        "UV_CACHE_DIR",
        "UV_TOOL_DIR",
        "UV_PYTHON_INSTALL_DIR",
        "PIP_CACHE_DIR",
        "PIP_TRUSTED_HOST",
        "NVM_DIR",
        "FNM_DIR",
        "VOLTA_HOME",
        "PYENV_ROOT",
        "ASDF_DATA_DIR",
        "MISE_DATA_DIR",
        "COREPACK_HOME",
    }
)
_CACHE_NAMES = frozenset({"npm_config_cache", "uv_cache_dir", "uv_tool_dir", "pip_cache_dir"})
_PROXY_NAMES = frozenset({"http_proxy", "https_proxy", "all_proxy", "no_proxy"})
_NPM_NAMES = frozenset(
    {
        "npm_config_cache",
        "npm_config_cafile",
        "npm_config_strict_ssl",
        "npm_config_proxy",
        "npm_config_https_proxy",
        "npm_config_noproxy",
        "npm_config_offline",
        "npm_config_prefer_offline",
        "npm_config_globalconfig",
    }
)
_INDEX_NAMES = frozenset(
    {
        "npm_config_registry",
        "UV_DEFAULT_INDEX",
        "UV_INDEX",
        "UV_INDEX_URL",
        "UV_EXTRA_INDEX_URL",
        "UV_FIND_LINKS",
        "UV_INSECURE_HOST",
        "UV_PYTHON_INSTALL_MIRROR",
        "PIP_INDEX_URL",
        "PIP_EXTRA_INDEX_URL",
    }
)
_OPERATOR_NAMES = frozenset(
    {
        "HOME",
        "USER",
        "LOGNAME",
        "SHELL",
        "TERM",
        "TMPDIR",
        "XDG_CONFIG_HOME",
        "XDG_CACHE_HOME",
        "XDG_DATA_HOME",
        "XDG_STATE_HOME",
        "XDG_RUNTIME_DIR",
    }
)
_USER_IN_ADDRESS = re.compile(r"//[^/\s]*@")
_CREDENTIAL_IN_FILE = re.compile(
    r"_auth|token|passw|secret|credential|username|\bkey\b|keyfile|//[^/\s]*@", re.IGNORECASE
)
_MAX_FILE_BYTES = 64 * 1024


def build_environment(
    entry: ServerEntry,
    environ: Mapping[str, str],
    *,
    personal: Mapping[str, str] | None = None,
    person_known: bool | None = None,
) -> dict[str, str]:
    """The whole environment of one server process of `entry`.

    `environ` is the gateway's snapshot. `personal` holds the variables that hold something of the person, filled in.
    These never come from anywhere else: a process of such a package that was started for nobody does not have them.
    `person_known` says whether the process serves one known person, who must not meet the operator's HOME; None means:
    exactly when `personal` is given.

    Raises:
        ConfigurationError: a required variable is missing, or the entry asks for a variable of the gateway itself.
    """
    if person_known is None:
        person_known = personal is not None
    environment = {name: value for name, value in environ.items() if _is_allowed(name, value)}
    if not person_known:
        environment.update((name, environ[name]) for name in _OPERATOR_NAMES if name in environ)
    defaults = _default_caches(environ)
    if person_known:
        defaults.update(_harmless_files(environ))
    known = {name.lower() for name in environment}
    environment.update((name, value) for name, value in defaults.items() if name.lower() not in known)
    environment.update(_entry_variables(entry, environ))
    for name in (*entry.personal_variables, *(file.variable for file in entry.files)):
        environment.pop(name, None)
    environment.update(personal or {})
    return environment


def forget_caches(environment: dict[str, str]) -> None:
    """Take out the variables that name package managers' caches: those that are then used are below HOME.

    For a process that may not write to the operator's, and would fail where it has to.
    """
    for name in [name for name in environment if name.lower() in _CACHE_NAMES]:
        del environment[name]


def _is_allowed(name: str, value: str) -> bool:
    if name in _MACHINE_NAMES or name.startswith("LC_"):
        return True
    lower = name.lower()
    if lower in _PROXY_NAMES and name in (lower, name.upper()):
        return True
    # npm reads its variables in any case.
    if lower in _NPM_NAMES:
        return True
    if lower in _INDEX_NAMES or name in _INDEX_NAMES:
        return _USER_IN_ADDRESS.search(value) is None
    return False


def _default_caches(environ: Mapping[str, str]) -> dict[str, str]:
    """Where npm, uv and pip keep what they download when nobody says otherwise: below the operator's HOME."""
    home = environ.get("HOME", "")
    if not os.path.isabs(home):
        return {}
    cache = _base_directory(environ, "XDG_CACHE_HOME", os.path.join(home, ".cache"))
    data = _base_directory(environ, "XDG_DATA_HOME", os.path.join(home, ".local", "share"))
    return {
        "npm_config_cache": os.path.join(home, ".npm"),
        "UV_CACHE_DIR": os.path.join(cache, "uv"),
        "UV_PYTHON_INSTALL_DIR": os.path.join(data, "uv", "python"),
        "UV_TOOL_DIR": os.path.join(data, "uv", "tools"),
        "PIP_CACHE_DIR": os.path.join(cache, "pip"),
    }


def _harmless_files(environ: Mapping[str, str]) -> dict[str, str]:
    """The operator's settings of npm, uv and pip, which a private HOME hides, unless a credential is in the file."""
    home = environ.get("HOME", "")
    if not os.path.isabs(home):
        return {}
    config = _base_directory(environ, "XDG_CONFIG_HOME", os.path.join(home, ".config"))
    npm_file = next((environ[name] for name in environ if name.lower() == "npm_config_userconfig"), "")
    files = {
        "npm_config_userconfig": npm_file or os.path.join(home, ".npmrc"),
        "UV_CONFIG_FILE": environ.get("UV_CONFIG_FILE") or os.path.join(config, "uv", "uv.toml"),
        "PIP_CONFIG_FILE": environ.get("PIP_CONFIG_FILE") or os.path.join(config, "pip", "pip.conf"),
    }
    return {name: path for name, path in files.items() if os.path.isabs(path) and _is_harmless(path)}


def _is_harmless(path: str) -> bool:
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(_MAX_FILE_BYTES + 1)
    except (OSError, UnicodeDecodeError):
        return False
    return len(text) <= _MAX_FILE_BYTES and _CREDENTIAL_IN_FILE.search(text) is None


def _base_directory(environ: Mapping[str, str], name: str, default: str) -> str:
    """XDG Base Directory Specification, "Environment variables": a relative path is invalid and ignored."""
    value = environ.get(name, "")
    return value if os.path.isabs(value) else default


def _entry_variables(entry: ServerEntry, environ: Mapping[str, str]) -> dict[str, str]:
    variables: dict[str, str] = {}
    for name, variable in entry.env:
        if name.upper().startswith(_GATEWAY_PREFIX):
            raise ConfigurationError(
                f"The package '{entry.name}' asks for the variable {name}.",
                why=f"Variables that begin with {_GATEWAY_PREFIX} belong to the gateway and reach no server process.",
                hint=f"Give the variable another name in `env` of '{entry.name}'{_in_source(entry)}.",
            )
        if variable.personal is not None:
            continue
        value = variable.value if variable.value is not None else environ.get(name)
        if variable.required and not value:
            raise _missing(entry, name, variable)
        if value is not None:
            variables[name] = value
    return variables


def _missing(entry: ServerEntry, name: str, variable: EnvVariable) -> ConfigurationError:
    description = f" ({variable.description})" if variable.description else ""
    return ConfigurationError(
        f"The package '{entry.name}' needs the environment variable {name}{description}.",
        why="It is marked as required, and it is neither set in the gateway's environment nor given a value.",
        hint=f"export {name}=... before the start, or give it a value in `env`{_in_source(entry)}.",
    )


def _in_source(entry: ServerEntry) -> str:
    return f" in {entry.source}" if entry.source else ""
