"""What a preset says of a provider. Pure module: values only, nothing is looked up.

Every fact is from the provider's documentation; what could not be confirmed there is left out, and the note says so.
"""

from dataclasses import dataclass, field
from typing import Literal

Check = Literal["google", "github", "gitlab"]
"""A provider's own way to tell whether a token was made for our client."""
Dialect = Literal["oidc", "slack", "atlassian"]
"""In which words the answer of a userinfo endpoint comes."""
AuthMethod = Literal["basic", "post", "none"]
Pkce = Literal["required", "supported", "undocumented", "omitted"]
"""`undocumented`: sent all the same, and ignored as RFC 6749 section 3.2 wants it. `omitted`: not sent, because the
provider documents none and checks its input strictly.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """Something that only the operator knows: a key of the auth block, and `{name}` in the addresses."""

    name: str
    what: str
    example: str
    kind: Literal["host", "name", "tenant"] = "name"
    """`host`: a host name, with or without a port. `name`: one part of an address. `tenant`: as Entra ID has them."""
    default: str | None = None
    """None: the operator has to give it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One provider. Addresses may hold `{name}` of its values; the other members are keys of an auth block."""

    name: str
    title: str
    values: tuple[Value, ...] = ()
    authorization_url: str
    token_url: str
    refresh_url: str | None = None
    """Where refresh tokens go, where that is not the token_url."""
    issuer: str | None = None
    userinfo_url: str | None = None
    revocation_url: str | None = None
    """Of RFC 7009. None: it has none, or an endpoint of its own kind."""
    check: Check | None = None
    dialect: Dialect = "oidc"
    token_hosts: tuple[str, ...] = ()
    """Hosts of a token_url by which check and userinfo are known for blocks too that name no provider."""
    authorization_hosts: tuple[str, ...] = ()
    """Hosts of an authorization_url by which extra_params and scope_separator are."""
    scopes: tuple[str, ...] = ()
    """What is asked for when the block has no scopes."""
    scope_separator: str = " "
    extra_params: tuple[tuple[str, str], ...] = ()
    token_endpoint_auth_method: AuthMethod | None = None
    """None: `post` with a client secret, `none` without one."""
    token_request: Literal["form", "json"] = "form"
    """How the body of a token request is written."""
    refresh_with_redirect_uri: bool = False
    """A refresh repeats the redirect URI of the login."""
    needs_secret: bool = True
    pkce: Pkce = "supported"
    https_redirect: bool = False
    """Redirect URIs have to begin with https://, on this machine too."""
    documentation: str
    """The provider's own page about its OAuth."""
    steps: tuple[str, ...]
    """What to click, in order. `{redirect_uri}` stands for that of the package."""
    refresh: str = ""
    """What gives a refresh token, and what becomes of it."""
    answer: tuple[tuple[str, object], ...] = field(default=())
    """The token answer as the documentation shows it, in the order of its members."""
    renewed: tuple[tuple[str, object], ...] = ()
    """The answer to a refresh. Empty: there are no refresh tokens."""
    note: str = ""

    @property
    def required_values(self) -> tuple[Value, ...]:
        return tuple(value for value in self.values if value.default is None)
