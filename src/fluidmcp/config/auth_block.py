"""The `auth` block of a server entry: a package's own OAuth provider, read so strictly that a typing error, a literal
secret or a hostile address is found when the file is loaded and not when somebody logs in.
"""

import re
from dataclasses import dataclass
from typing import Literal, cast, get_args

from fluidmcp.config.known_providers import KnownProvider, find_known_provider
from fluidmcp.config.providers.fill import fill_block
from fluidmcp.config.reading import ObjectReader, show_key
from fluidmcp.config.urls import check_url, is_host_name
from fluidmcp.config.variables import check_credential_variable, check_token_variable

TokenEndpointAuthMethod = Literal["basic", "post", "none"]
TokenRequest = Literal["form", "json"]
Validation = Literal["jwt", "introspection", "userinfo", "google", "github", "gitlab", "issued_here"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthBlock:
    """The `auth` object of an entry: the package's own OAuth provider, and which of its people are let in."""

    provider: str = ""
    """The preset that filled in what the block left out; empty: the block says everything itself."""
    authorization_url: str
    token_url: str
    refresh_url: str | None = None
    """Where refresh tokens go, where that is not the token_url."""
    env_var_name: str
    """The variable that holds the token; empty: the entry's placeholders alone say where it goes."""
    scopes: tuple[str, ...] = ()
    client_id_env: str | None = None
    client_secret_env: str | None = None
    client_id: str | None = None
    extra_params: tuple[tuple[str, str], ...] = ()
    scope_separator: str = " "
    token_endpoint_auth_method: TokenEndpointAuthMethod | None = None
    """None: `post` when a client secret is set, else `none`."""
    token_request: TokenRequest = "form"
    """How the body of a token request is written."""
    refresh_with_redirect_uri: bool = False
    """A refresh repeats the redirect URI of the login."""
    send_pkce: bool = True
    """False: for providers without PKCE that refuse what they do not know. Only with a client secret."""
    issuer: str | None = None
    introspection_url: str | None = None
    validation: Validation | None = None
    """How to check tokens that were not handed out here. None: whatever can prove that they were made for us."""
    audience: str | None = None
    """What JWTs, and introspected tokens, have to be meant for."""
    jwks_uri: str | None = None
    userinfo_url: str | None = None
    allow_unbound_tokens: bool = False
    """Accept tokens of the right person although nothing proves that they were made for us."""
    revocation_url: str | None = None
    required_scopes: tuple[str, ...] = ()
    """Scopes without which a token is not enough, whoever has it."""
    scope_descriptions: tuple[tuple[str, str], ...] = ()
    """Scopes in words, for the page that asks a person for consent."""
    accept_provider_tokens: bool = True
    """Whether the provider's own tokens are good, beside those that MCP clients get from the gateway."""
    allowed_subjects: tuple[str, ...] = ()
    allowed_domains: tuple[str, ...] = ()
    allow_any_user: bool = False

    @property
    def names_who_is_allowed(self) -> bool:
        return bool(self.allowed_subjects or self.allowed_domains or self.allow_any_user)


KEYS = frozenset({"type", "flow", *AuthBlock.__dataclass_fields__})
MAX_DESCRIPTION_CHARACTERS = 200
_SECRET_KEY = re.compile(r"secret|password|passwd|token$|api_?key|private_?key|assertion|credential", re.IGNORECASE)
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+", re.ASCII)  # RFC 6749 §3.3, scope-token
_CLIENT_ID = re.compile(r"[\x21-\x7e]{1,512}", re.ASCII)
_AUDIENCE = re.compile(r"[\x21-\x7e]{1,1024}", re.ASCII)
_PARAMETER_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_PARAMETER_VALUE = re.compile(r"[\x20-\x7e]{0,1024}", re.ASCII)

PROTOCOL_PARAMETERS = frozenset(
    """
    access_token assertion client_assertion client_assertion_type client_id client_secret code code_challenge
    code_challenge_method code_verifier device_code dpop_jkt error grant_type id_token iss nonce password redirect_uri
    refresh_token request request_uri resource response_mode response_type scope session_state state token username
    """.split()
)
"""Parameters of the authorization request and the token request that the gateway alone sets."""


def parse_auth_block(reader: ObjectReader, *, allowed_env_names: frozenset[str]) -> AuthBlock | None:
    """The block, or None when something is wrong with it; every fault stands in `reader.faults` then."""
    before = len(reader.faults)
    if not reader.is_object:
        return None
    reader = fill_block(reader)
    if len(reader.faults) > before and reader.get("authorization_url") is None:
        # Without its provider the block lacks what nobody is to write.
        return None
    _check_keys(reader)
    _check_kind(reader)
    block = AuthBlock(
        provider=reader.text("provider") or "",
        authorization_url=_read_url(reader, "authorization_url", required=True) or "",
        token_url=_read_url(reader, "token_url", required=True) or "",
        refresh_url=_read_url(reader, "refresh_url"),
        env_var_name=_read_env_var_name(reader),
        scopes=_read_scopes(reader, "scopes"),
        client_id_env=_read_credential(reader, "client_id_env", "CLIENT_ID", allowed_env_names),
        client_secret_env=_read_credential(reader, "client_secret_env", "CLIENT_SECRET", allowed_env_names),
        client_id=_read_client_id(reader),
        extra_params=_read_extra_params(reader),
        scope_separator=_read_scope_separator(reader),
        token_endpoint_auth_method=_read_method(reader),
        token_request=_read_token_request(reader),
        refresh_with_redirect_uri=reader.flag("refresh_with_redirect_uri"),
        send_pkce=reader.flag("send_pkce", default=True),
        issuer=_read_url(reader, "issuer", allow_query=False),
        introspection_url=_read_url(reader, "introspection_url"),
        validation=_read_validation(reader),
        audience=_read_audience(reader),
        jwks_uri=_read_url(reader, "jwks_uri"),
        userinfo_url=_read_url(reader, "userinfo_url"),
        allow_unbound_tokens=reader.flag("allow_unbound_tokens"),
        revocation_url=_read_url(reader, "revocation_url"),
        required_scopes=_read_scopes(reader, "required_scopes"),
        scope_descriptions=_read_scope_descriptions(reader),
        accept_provider_tokens=reader.flag("accept_provider_tokens", default=True),
        allowed_subjects=_read_subjects(reader),
        allowed_domains=_read_domains(reader),
        allow_any_user=reader.flag("allow_any_user"),
    )
    if len(reader.faults) == before:
        _check_client(reader, block)
        _check_people(reader, block)
        _check_scopes(reader, block)
        _check_validation(reader, block)
    return block if len(reader.faults) == before else None


def _check_keys(reader: ObjectReader) -> None:
    for key in reader.unknown(KEYS):
        if _SECRET_KEY.search(key):
            text = (
                "looks like a literal secret, which does not belong in this file; "
                "export it in the environment and name the variable in client_secret_env"
            )
            reader.fault(key, text)
        else:
            reader.fault(key, "is not a known key of an auth block")


def _check_kind(reader: ObjectReader) -> None:
    for key, expected in (("type", "oauth2"), ("flow", "pkce")):
        value = reader.required_text(key)
        if value is not None and value != expected:
            other = ', or "keys" where people type keys' if key == "type" else "; no other is supported"
            reader.fault(key, f'must be "{expected}"{other}')


def _read_url(reader: ObjectReader, key: str, *, required: bool = False, allow_query: bool = True) -> str | None:
    url = reader.required_text(key) if required else reader.text(key)
    if url is None:
        return None
    fault = check_url(url, forbidden_parameters=PROTOCOL_PARAMETERS, allow_query=allow_query)
    if fault is not None:
        reader.fault(key, fault)
    return url


def _read_env_var_name(reader: ObjectReader) -> str:
    name = reader.text("env_var_name")
    if name is None:
        # Whether something else hands the credential to the server, the entry knows.
        return ""
    fault = check_token_variable(name)
    if fault is not None:
        reader.fault("env_var_name", fault)
    return name


def _read_scopes(reader: ObjectReader, key: str) -> tuple[str, ...]:
    scopes = reader.texts(key)
    for index, scope in enumerate(scopes):
        if not _SCOPE.fullmatch(scope):
            text = "must be one scope: printable ASCII without spaces, quotes and backslashes"
            reader.fault(key, f"({index + 1}. in the list) {text}")
    return scopes


def _read_scope_descriptions(reader: ObjectReader) -> tuple[tuple[str, str], ...]:
    if reader.get("scope_descriptions") is None:
        return ()
    nested = reader.nested("scope_descriptions")
    descriptions: list[tuple[str, str]] = []
    for scope in nested.keys():
        words = nested.text(scope)
        if words is None or not words.isprintable() or not 0 < len(words) <= MAX_DESCRIPTION_CHARACTERS:
            nested.fault(scope, f"must be a sentence of at most {MAX_DESCRIPTION_CHARACTERS} characters")
        else:
            descriptions.append((scope, words))
    return tuple(descriptions)


def _read_credential(
    reader: ObjectReader,
    key: str,
    suffix: Literal["CLIENT_ID", "CLIENT_SECRET"],
    allowed_env_names: frozenset[str],
) -> str | None:
    name = reader.text(key)
    if name is None:
        return None
    fault = check_credential_variable(name, suffix=suffix, allowed_names=allowed_env_names)
    if fault is not None:
        reader.fault(key, fault)
    return name


def _read_client_id(reader: ObjectReader) -> str | None:
    client_id = reader.text("client_id")
    if client_id is not None and not _CLIENT_ID.fullmatch(client_id):
        reader.fault("client_id", "must be printable ASCII without spaces, at most 512 characters")
    return client_id


def _read_extra_params(reader: ObjectReader) -> tuple[tuple[str, str], ...]:
    if reader.get("extra_params") is None:
        return ()
    nested = reader.nested("extra_params")
    params: list[tuple[str, str]] = []
    for name in nested.keys():
        value = nested.text(name)
        if not _PARAMETER_NAME.fullmatch(name):
            nested.fault(name, "is not a usable parameter name (letters, digits, . _ and -)")
        elif name.lower() in PROTOCOL_PARAMETERS:
            nested.fault(name, "is a parameter of the protocol itself, which only the gateway sets")
        elif value is None:
            if nested.get(name) is None:
                nested.fault(name, "must be a string, not null")
        elif not _PARAMETER_VALUE.fullmatch(value):
            nested.fault(name, "must be printable ASCII, at most 1024 characters")
        else:
            params.append((name, value))
    return tuple(params)


def _read_scope_separator(reader: ObjectReader) -> str:
    separator = reader.text("scope_separator")
    if separator is None:
        return " "
    if separator not in (" ", ","):
        reader.fault("scope_separator", 'must be " " or ","')
    return separator


def _read_method(reader: ObjectReader) -> TokenEndpointAuthMethod | None:
    method = reader.text("token_endpoint_auth_method")
    if method is None:
        return None
    if method not in get_args(TokenEndpointAuthMethod):
        reader.fault("token_endpoint_auth_method", 'must be "basic", "post" or "none"')
        return None
    return cast("TokenEndpointAuthMethod", method)


def _read_token_request(reader: ObjectReader) -> TokenRequest:
    form = reader.text("token_request") or "form"
    if form not in get_args(TokenRequest):
        reader.fault("token_request", 'must be "form" or "json"')
        return "form"
    return cast("TokenRequest", form)


def _read_validation(reader: ObjectReader) -> Validation | None:
    validation = reader.text("validation")
    if validation is None:
        return None
    if validation not in get_args(Validation):
        reader.fault("validation", f"must be one of {', '.join(get_args(Validation))}")
        return None
    return cast("Validation", validation)


def _read_audience(reader: ObjectReader) -> str | None:
    audience = reader.text("audience")
    if audience is not None and not _AUDIENCE.fullmatch(audience):
        reader.fault("audience", "must be printable ASCII without spaces, at most 1024 characters")
    return audience


def _read_subjects(reader: ObjectReader) -> tuple[str, ...]:
    subjects = reader.texts("allowed_subjects")
    if any(not subject.strip() for subject in subjects):
        reader.fault("allowed_subjects", "holds an empty name")
    return subjects


def _read_domains(reader: ObjectReader) -> tuple[str, ...]:
    domains = tuple(domain.lower() for domain in reader.texts("allowed_domains"))
    for domain in domains:
        if not is_host_name(domain) or "." not in domain or ":" in domain:
            text = "holds something that is not a plain domain; write example.com, without @ or * and in ASCII"
            reader.fault("allowed_domains", text)
            break
    return domains


def _check_client(reader: ObjectReader, block: AuthBlock) -> None:
    """Who we are to the provider must be said once, and the way to prove it must have what it needs."""
    if block.client_id is None and block.client_id_env is None:
        reader.fault("client_id_env", "is missing: name the environment variable that holds the OAuth client id")
    if block.client_id is not None and block.client_id_env is not None:
        reader.fault("client_id", "and client_id_env are both given; keep one of them")
    if block.client_id_env is not None and block.client_id_env == block.client_secret_env:
        # The client id travels through the browser: the secret would be published.
        reader.fault("client_id_env", "and client_secret_env name the same variable")
    method = block.token_endpoint_auth_method
    if method in ("basic", "post") and block.client_secret_env is None:
        reader.fault("token_endpoint_auth_method", f'is "{method}", which needs a client_secret_env')
    if method == "none" and block.client_secret_env is not None:
        reader.fault("token_endpoint_auth_method", 'is "none", but client_secret_env is given; keep one of them')
    if not block.send_pkce and method not in ("basic", "post"):
        # Without both, whoever gets hold of a code has the token.
        reader.fault("send_pkce", 'is false, which needs a client secret: "token_endpoint_auth_method" basic or post')


def _check_people(reader: ObjectReader, block: AuthBlock) -> None:
    """A list of people is worth something only where the provider tells who somebody is."""
    lists = [key for key in ("allowed_subjects", "allowed_domains") if reader.get(key)]
    if lists and block.allow_any_user:
        reader.fault("allow_any_user", f"is true although {show_key(lists[0])} is given; keep one of them")
    rules = list_rules(block)
    if lists and not rules:
        text = (
            "cannot be checked, because nothing tells who somebody is: "
            'add "openid" to scopes, or give an introspection_url or a userinfo_url'
        )
        reader.fault(lists[0], text)
    elif block.allowed_domains and "allowed_domains" not in rules:
        text = (
            "names nobody, because this provider tells no mail address: name people in allowed_subjects, or add "
            '"openid" and "email" to scopes, where it has them'
        )
        reader.fault("allowed_domains", text)
    for key in ("allowed_subjects", "allowed_domains"):
        if key in reader and reader.get(key) == []:
            reader.fault(key, "is an empty list, which lets nobody in; leave it out or name somebody")


def list_rules(block: AuthBlock) -> tuple[str, ...]:
    """The keys that may name those who are let in, beside `allow_any_user`: what its provider tells decides."""
    if "openid" not in block.scopes and not _names_people(block):
        return ()
    return ("allowed_domains", "allowed_subjects") if _tells_mail_domain(block) else ("allowed_subjects",)


def _check_scopes(reader: ObjectReader, block: AuthBlock) -> None:
    if set(block.required_scopes) - set(block.scopes):
        reader.fault("required_scopes", "holds one that is not in scopes, so that no login could ever get it")


def _names_people(block: AuthBlock) -> bool:
    """Whether something other than an ID token tells whose a token is."""
    known = known_of(block)
    # Google names the person only to clients that asked for the scope "openid".
    own = block.validation or known.check
    if own == "gitlab" or (own == "github" and block.client_secret_env is not None):
        return True
    is_jwt = block.validation in (None, "jwt") and block.audience is not None and issuer_of_jwts(block) is not None
    return is_jwt or bool(block.introspection_url or block.userinfo_url or known.userinfo)


def _tells_mail_domain(block: AuthBlock) -> bool:
    """Whether what tells whose a token is (`_names_people`, or an ID token) may tell a verified mail address too."""
    known = known_of(block)
    own = block.validation or known.check
    if own == "github":
        return False  # it has no ID tokens
    if "openid" in block.scopes:
        return True
    if own == "gitlab":
        return False
    is_jwt = block.validation in (None, "jwt") and block.audience is not None and issuer_of_jwts(block) is not None
    # Answers in words of the provider's own are read for the person alone.
    has_userinfo = known.userinfo.dialect == "oidc" if known.userinfo else block.userinfo_url is not None
    return is_jwt or bool(block.introspection_url) or has_userinfo


def issuer_of_jwts(block: AuthBlock) -> str | None:
    """The issuer whose JWTs the package may accept: the configured one, or that of a well-known provider."""
    return block.issuer or known_of(block).issuer


def known_of(block: AuthBlock) -> KnownProvider:
    """What is known of the provider of a block, by its preset and its token endpoint."""
    return find_known_provider(block.token_url, provider=block.provider)


def _check_validation(reader: ObjectReader, block: AuthBlock) -> None:
    """A way to check tokens must have all that it needs, and no key may be set without effect."""
    known = known_of(block)
    match block.validation:
        case "jwt":
            if block.audience is None:
                reader.fault("audience", 'is missing: "validation": "jwt" needs what the tokens are meant for')
            if issuer_of_jwts(block) is None:
                reader.fault("issuer", 'is missing: "validation": "jwt" needs to know whose tokens are good')
        case "introspection":
            if block.introspection_url is None and known.introspection_url is None:
                reader.fault("introspection_url", 'is missing: "validation": "introspection" needs it')
        case "userinfo":
            if block.userinfo_url is None and known.userinfo is None:
                reader.fault("userinfo_url", 'is missing: "validation": "userinfo" needs it')
        case "github":
            if block.client_secret_env is None:
                reader.fault("client_secret_env", 'is missing: "validation": "github" needs it')
        case _:
            pass
    if block.jwks_uri is not None and (block.audience is None or issuer_of_jwts(block) is None):
        reader.fault("jwks_uri", "does nothing without an issuer and an audience, which every JWT has to name")
    if block.allow_unbound_tokens:
        has_userinfo = block.userinfo_url is not None or known.userinfo is not None
        if not has_userinfo or block.validation not in (None, "userinfo"):
            reader.fault("allow_unbound_tokens", "does nothing without a userinfo_url that may decide")
