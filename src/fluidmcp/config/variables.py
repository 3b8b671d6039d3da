"""Which names of environment variables a package file may use, for what, and which hold secrets. Pure: no I/O."""

import re
from typing import Final, Literal

VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,255}", re.ASCII)
"""What an entry's `env` may set."""

TOKEN_VARIABLE_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,63}", re.ASCII)
"""What a caller's token may be handed over in."""

OWN_PREFIX = "FMCP_"
"""The gateway's own settings, sealing keys among them: never named by a package and never given to one."""

# Variables that change which code a child process runs, which files it reads or whom it talks to. A token put into
# one of them would at best break the server; a package author who names one wants something else than a token.
_LOADER_NAMES = frozenset(
    """
    BASHOPTS BASH_ENV BROWSER CDPATH CLASSPATH CURL_CA_BUNDLE CURL_HOME EDITOR ENV GCONV_PATH GEM_HOME GEM_PATH
    GETCONF_DIR GIT_ASKPASS GIT_CONFIG GIT_DIR GIT_EXEC_PATH GIT_EXTERNAL_DIFF GIT_PAGER GIT_PROXY_COMMAND GIT_SSH
    GIT_SSH_COMMAND GLIBC_TUNABLES GLOBIGNORE HOME HOSTALIASES IFS JAVA_HOME JAVA_OPTS JDK_JAVA_OPTIONS
    JAVA_TOOL_OPTIONS LANG LANGUAGE LOCALDOMAIN LOCPATH LUA_CPATH LUA_INIT LUA_PATH NLSPATH NODE_EXTRA_CA_CERTS
    NODE_OPTIONS NODE_PATH NODE_REPL_EXTERNAL_MODULE NODE_TLS_REJECT_UNAUTHORIZED OPENSSL_CONF OPENSSL_ENGINES
    OPENSSL_MODULES PAGER PATH PERL5DB PERL5LIB PERL5OPT PERLLIB PHPRC PROMPT_COMMAND PS4 PWD REQUESTS_CA_BUNDLE
    RESOLV_HOST_CONF RES_OPTIONS RUBYLIB RUBYOPT RUSTC_WRAPPER SHELL SHELLOPTS SSLKEYLOGFILE SSL_CERT_DIR
    SSL_CERT_FILE TMPDIR TZ TZDIR VIRTUAL_ENV VISUAL ZDOTDIR
    """.split()
)
_LOADER_PREFIXES = (
    *("BUN_", "COREPACK_", "DENO_", "DOTNET_", "DYLD_", "GIT_CONFIG_", "LC_", "LD_", "MALLOC_", "NPM_CONFIG_"),
    *("PIP_", "PYTHON", "RUBY_", "UV_", "XDG_"),
)
_LOADER_SUFFIXES = ("_PROXY",)

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_SECRET_WORDS: Final = frozenset(
    "key keys apikey token tokens secret secrets password passwords passwd passphrase pass pwd pw pat pats credential"
    " credentials creds auth authorization authentication cookie cookies session sessions sessionid sid bearer jwt pin"
    " otp totp mfa dsn private signing signature sig hmac salt seed mnemonic webhook webhooks license licence".split()
)
_SECRET_PARTS: Final = re.compile(
    r"apikey|token|secret|passw|passphrase|credential|privatekey|accesskey|connectionstr|connstr|(?:db|user)pass\Z"
)
_KEYS_OF_OTHERS: Final = ("monkey", "donkey", "turkey", "hotkey", "whiskey", "jockey", "hockey")
_OTHER_ENDS: Final = frozenset(
    "file files path dir directory folder url uri endpoint host hostname port name names user username email"
    " type mode limit limits count ttl timeout seconds expiry method provider enabled required header scope scopes"
    " region version algorithm length size env prefix".split()
)
_ADDRESS_ENDS: Final = frozenset({"url", "urls", "uri", "uris", "string", "str"})
_SECRET_ADDRESSES: Final = frozenset(
    "database databases db postgres postgresql pg mysql mariadb mssql sql mongo mongodb redis amqp rabbitmq broker"
    " connection conn jdbc smtp hook webhook webhooks sentry proxy".split()
)
"""Whose addresses hold a password, or are one."""
_AMOUNT_OF_TOKENS: Final = re.compile(r"(?:max|min|num|total)_?(?:\w+_)?tokens", re.IGNORECASE)


def sounds_secret(name: str) -> bool:
    """Whether a variable, header, option or parameter of that name usually holds a secret.

    In doubt it does: what is hidden or left out too much costs a line, what is shown may cost an account.
    """
    words = [word.lower() for word in _WORD.findall(name)]
    if not words or _AMOUNT_OF_TOKENS.search(name):
        return False
    if words[-1] in _ADDRESS_ENDS and not _SECRET_ADDRESSES.isdisjoint(words):
        return True
    joined = "".join(words)
    if words[-1] in _OTHER_ENDS:
        return False
    if not _SECRET_WORDS.isdisjoint(words) or any(
        word.endswith("key") and not word.endswith(_KEYS_OF_OTHERS) for word in words
    ):
        return True
    return _SECRET_PARTS.search(joined) is not None or joined.endswith(("databaseurl", "databaseuri"))


def is_loader_variable(name: str) -> bool:
    """Whether the variable steers the loader, an interpreter, a package manager or the network of a child process."""
    upper = name.upper()
    return upper in _LOADER_NAMES or upper.startswith(_LOADER_PREFIXES) or upper.endswith(_LOADER_SUFFIXES)


def is_own_variable(name: str) -> bool:
    """Whether the variable belongs to the gateway itself."""
    return name.upper().startswith(OWN_PREFIX)


def check_token_variable(name: str) -> str | None:
    """What is wrong with `name` as an `env_var_name`, without repeating it; None when it is fine."""
    if not TOKEN_VARIABLE_NAME.fullmatch(name):
        return "must be the name of a variable: a capital letter, then capital letters, digits or _ (at most 64)"
    if is_own_variable(name):
        return f"must not begin with {OWN_PREFIX}: those variables belong to the gateway"
    if is_loader_variable(name):
        return "names a variable that decides what code or configuration the server loads; choose another name"
    return None


def check_credential_variable(
    name: str, *, suffix: Literal["CLIENT_ID", "CLIENT_SECRET"], allowed_names: frozenset[str]
) -> str | None:
    """What is wrong with `name` as a `client_id_env` or `client_secret_env`; None when it is fine.

    The answer does not repeat the name: people put the secret itself there by mistake.
    """
    if not TOKEN_VARIABLE_NAME.fullmatch(name):
        return (
            "must be the name of an environment variable (capital letters, digits and _), not the value itself; "
            f"for example EXAMPLE_{suffix}"
        )
    if is_own_variable(name):
        return f"must not begin with {OWN_PREFIX}: those variables belong to the gateway"
    if name.endswith(suffix) or name in allowed_names:
        return None
    return f"must be the name of a variable that ends in {suffix}, or one that --allow-env names"
