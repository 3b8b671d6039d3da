"""Access tokens that are JWTs, checked without asking anybody but the issuer's key set (RFC 9068, RFC 8725).

The order is chosen so that a forged token costs little: size, form, header and claims first, then the key, then the
signature. Nothing in a token decides where a key comes from or which kind of algorithm is used.
"""

from collections.abc import Callable

from joserfc import jws
from joserfc.errors import JoseError, UnsupportedAlgorithmError
from joserfc.jws import JWSRegistry

from fluidmcp.authentication.identity import read_name, read_subject, read_verified_domain, read_verified_email
from fluidmcp.authentication.principal import Principal
from fluidmcp.authentication.verifiers.answers import holds, read_scopes, read_text, read_time
from fluidmcp.authentication.verifiers.cached import TokenRefusedError
from fluidmcp.authentication.verifiers.jwks import ALGORITHMS, JwksCache, VerificationKey
from fluidmcp.authentication.verifiers.jwt_form import LEEWAY_SECONDS, MAX_HEADER_CHARACTERS, Claims, read_token
from fluidmcp.oauth_client.issuer import ExpectedIssuer, resolve_tenant

MAX_KID_CHARACTERS = 1024

_ACCESS_TOKEN_TYPES = frozenset({"at+jwt", "application/at+jwt"})
_PLAIN_TYPES = frozenset({None, "jwt", "application/jwt"})
# Keycloak and Cognito say in a claim what a token is.
_KIND_CLAIMS = ("typ", "token_use")
_ACCESS_TOKEN_KINDS = frozenset({"bearer", "access", "access_token", "at+jwt"})
# OpenID Connect Core 1.0, sections 2 and 3.3.2.11, and Back-Channel Logout 1.0, section 2.4.
_CLAIMS_OF_OTHER_TOKENS = ("nonce", "at_hash", "c_hash", "s_hash", "events")


class _Registry(JWSRegistry):
    """The library's rules, with room for certificates in the header, and one algorithm: the one that was checked."""

    max_header_length = MAX_HEADER_CHARACTERS

    def __init__(self, algorithm: str) -> None:
        super().__init__(algorithms=[algorithm], strict_check_header=False)
        self._algorithm = algorithm

    def get_alg(self, name: str):  # type: ignore[no-untyped-def]
        if name != self._algorithm:
            raise UnsupportedAlgorithmError("another algorithm")
        return self.algorithms[name]


class JwtCheck:
    """Accepts access tokens of one issuer that are meant for one audience."""

    def __init__(self, *, issuer: ExpectedIssuer, audience: str, keys: JwksCache, now: Callable[[], float]) -> None:
        self._issuer = issuer
        self._audience = audience
        self._keys = keys
        self._now = now

    async def check(self, token: str, digest: str) -> Principal:
        """Raises as `TokenCheck.check`."""
        header, claims = read_token(token)
        algorithm, kid = read_header(header)
        issuer = self._issuer.match(claims)
        if issuer is None:
            raise TokenRefusedError("Its issuer (iss) is another one than the configured one.")
        if not holds(claims.get("aud"), self._audience):
            raise TokenRefusedError("It is meant for another audience (aud).")
        expires_at = check_times(claims, now=self._now())
        require_access_token(header, claims)
        key = await self._keys.find(kid, algorithm)
        if key is None:
            raise TokenRefusedError("The issuer has no key of that name (kid) and kind.")
        # Where one key set serves several tenants, a key may be for one of them only.
        if key.issuer is not None and resolve_tenant(key.issuer, claims) != issuer:
            raise TokenRefusedError("Its key belongs to another issuer.")
        verify_signature(token, key, algorithm)
        return Principal(
            issuer=issuer,
            subject=read_subject(claims) or f"token:{digest}",
            client_id=read_text(claims, "client_id", "azp", "cid", "appid") or "",
            token_digest=digest,
            scopes=read_scopes(claims.get("scope")) | read_scopes(claims.get("scp")),
            # Until then the token is accepted: the issuer's clock may be ahead of ours.
            expires_at=expires_at + LEEWAY_SECONDS,
            email_domain=read_verified_domain(claims, issuer),
            email=read_verified_email(claims),
            name=read_name(claims),
        )


def read_header(header: Claims) -> tuple[str, str | None]:
    """Algorithm and key id of a header that asks for nothing we do not do.

    Raises:
        TokenRefusedError: an algorithm that is not on the list (RFC 8725 section 3.1), a critical extension or an
            unencoded payload (RFC 7515 section 4.1.11, RFC 7797), a key that the token brings along.
    """
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise TokenRefusedError("Its algorithm (alg) is not an accepted one.")
    if "crit" in header or "b64" in header:
        raise TokenRefusedError("Its header asks for an extension that is not supported.")
    if "jwk" in header:
        raise TokenRefusedError("It brings a key of its own.")
    kid = header.get("kid")
    if kid is not None and not (isinstance(kid, str) and 0 < len(kid) <= MAX_KID_CHARACTERS):
        raise TokenRefusedError("Its key id (kid) is not a text.")
    return algorithm, kid


def check_times(claims: Claims, *, now: float) -> float:
    """The end of the token (RFC 7519 sections 4.1.4 to 4.1.6), in seconds since the epoch.

    Raises:
        TokenRefusedError: it has none, has expired, is not good yet, or a time in it is no number.
    """
    times = {name: read_time(claims[name]) for name in ("exp", "nbf", "iat") if name in claims}
    if any(time is None for time in times.values()):
        raise TokenRefusedError("A time in it (exp, nbf or iat) is not a number of seconds.")
    expires_at = times.get("exp")
    if expires_at is None:
        raise TokenRefusedError("It has no end (exp).")
    if now >= expires_at + LEEWAY_SECONDS:
        raise TokenRefusedError("It has expired.")
    if any(now < (times.get(name) or now) - LEEWAY_SECONDS for name in ("nbf", "iat")):
        raise TokenRefusedError("It is not good yet, or a clock is wrong.")
    return expires_at


def require_access_token(header: Claims, claims: Claims) -> None:
    """Tell access tokens from ID tokens, logout tokens and the like, which have the same issuer, audience and keys.

    RFC 9068 section 4 has a type for it. Without that type the token must have what access tokens have (scopes or a
    client id) and nothing that only others have. We refuse a token that is bound to a key of its holder (`cnf`):
    we cannot ask for the proof (RFC 9449 section 7.2, RFC 8705 section 3).

    Raises:
        TokenRefusedError: it is something else.
    """
    if "cnf" in claims:
        raise TokenRefusedError("It is bound to a key of its holder, which cannot be checked here.")
    kind = header.get("typ")
    lower = kind.lower() if isinstance(kind, str) else kind
    if lower in _ACCESS_TOKEN_TYPES:
        return
    if lower not in _PLAIN_TYPES:
        raise TokenRefusedError("Its type (typ) is not that of an access token.")
    kinds = [claims[name] for name in _KIND_CLAIMS if claims.get(name) is not None]
    if not all(isinstance(value, str) and value.lower() in _ACCESS_TOKEN_KINDS for value in kinds):
        raise TokenRefusedError("It says that it is not an access token.")
    if not kinds and any(name in claims for name in _CLAIMS_OF_OTHER_TOKENS):
        raise TokenRefusedError("It is an ID token, not an access token.")
    if not any(name in claims for name in ("scope", "scp", "client_id", "cid")):
        raise TokenRefusedError("It does not say that it is an access token: it has neither scopes nor a client id.")


def verify_signature(token: str, key: VerificationKey, algorithm: str) -> None:
    """Raises TokenRefusedError when the signature is not that of the key."""
    try:
        verified = jws.deserialize_compact(token, key.key, registry=_Registry(algorithm))
    except (JoseError, ValueError, TypeError) as error:
        raise TokenRefusedError("Its signature is wrong.") from error
    if verified.headers().get("alg") != algorithm:
        raise TokenRefusedError("Its signature is wrong.")
