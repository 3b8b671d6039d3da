"""Who may come in to one package: its logins together, and what programs bring without one."""

from collections.abc import Mapping

from fluidmcp.authentication.person import Held, HeldLogin, Person
from fluidmcp.authentication.principal import Principal
from fluidmcp.config.auth_block import AuthBlock
from fluidmcp.config.entries import ServerEntry
from fluidmcp.config.logins.read import list_logins
from fluidmcp.errors import UnauthorizedError
from fluidmcp.guards.keys_login import KeysLogin
from fluidmcp.guards.package_auth import PackageAuth
from fluidmcp.oauth_client.services import LoginServices


class PackageGuard:
    """The guard of a package with an `auth` object.

    `logins` are its logins by their names, in their order. `only` is the one whose provider's own tokens are good here,
    where there is one: what it gives is all that the package needs.
    """

    def __init__(self, entry: ServerEntry, environ: Mapping[str, str], services: LoginServices) -> None:
        """Raises ValueError: the entry has no `auth`."""
        if entry.auth is None:
            raise ValueError("the entry has no auth")
        self.package = entry.name
        self.resource_url = f"{services.public_url}/{entry.name}/mcp"
        self.logins: dict[str, PackageAuth | KeysLogin] = {
            name: PackageAuth(entry, environ, services, login=name)
            if isinstance(block, AuthBlock)
            else KeysLogin(entry, services, login=name)
            for name, block in list_logins(entry.auth)
        }
        providers = [login for login in self.logins.values() if isinstance(login, PackageAuth)]
        self.keys = next((login for login in self.logins.values() if isinstance(login, KeysLogin)), None)
        self.only = providers[0] if providers and not providers[0].gives_more else None
        self.scopes = tuple(dict.fromkeys(scope for login in self.logins.values() for scope in login.scopes))
        self.scope_descriptions = {
            scope: words for login in providers for scope, words in login.scope_descriptions.items()
        }
        self.logins_in_browser = {
            name: login for name, login in self.logins.items() if not isinstance(login, KeysLogin) or login.has_page
        }
        """Those that people have pages for; all, or none."""
        self.login_url = f"{services.public_url}/{entry.name}/auth/login" if self.logins_in_browser else ""
        """"" where nobody logs in: keys come in headers alone."""
        self.hands_out_tokens = all(login.hands_out_tokens for login in providers)
        self.missing_variables = tuple(name for login in providers for name in login.missing_variables)
        # Headers can bring keys alone.
        self._header_keys = self.keys if len(self.logins) == 1 else None

    async def authenticate(self, token: str) -> tuple[Principal, Held]:
        """Whom a bearer token that is not sealed stands for, and what processes of that person get.

        Raises as `PackageAuth.authenticate`.
        """
        if self.only is None:
            raise UnauthorizedError(
                "The access token is not good here",
                reason="invalid_token",
                why="Only tokens that this gateway handed out are.",
                hint=f"Open {self.login_url} to log in.",
            )
        principal = await self.only.authenticate(token)
        person = Person(principal.issuer, principal.subject, principal.email_domain, tuple(sorted(principal.scopes)))
        expires_at = None if principal.expires_at is None else int(principal.expires_at)
        return principal, (HeldLogin("", person, token, expires_at),)

    async def read_headers(self, headers: Mapping[str, str]) -> tuple[Principal, Held] | None:
        """As `KeysLogin.read_headers`."""
        return None if self._header_keys is None else await self._header_keys.read_headers(headers)

    def find_provider(self, login: str) -> PackageAuth | None:
        """The login at a provider of that name."""
        found = self.logins.get(login)
        return found if isinstance(found, PackageAuth) else None

    def require_variables(self) -> None:
        """Raises LoginError 503: a login lacks variables in the gateway's environment."""
        for login in self.logins.values():
            if isinstance(login, PackageAuth):
                login.require_variables()
