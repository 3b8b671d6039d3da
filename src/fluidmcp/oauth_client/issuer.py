"""Which issuer a token must come from. Pure module.

Compared letter by letter, to the last slash (RFC 8414 section 3.3, RFC 9068 section 4). The one exception is Entra ID:
an app that is open to several tenants has one address for all of them, and each token names its own tenant.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

TENANT_TEMPLATE = "{tenantid}"

_ENTRA_HOSTS = frozenset({"login.microsoftonline.com", "login.microsoftonline.us", "login.partner.microsoftonline.cn"})
_TENANT_ALIASES = frozenset({"common", "organizations"})
_TENANT_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)


@dataclass(frozen=True, slots=True)
class ExpectedIssuer:
    """An issuer, or a template of issuers with `{tenantid}` in it."""

    text: str

    @classmethod
    def of(cls, issuer: str) -> "ExpectedIssuer":
        """The expectation for a configured issuer; Entra's `common` and `organizations` stand for every tenant."""
        parts = urlsplit(issuer)
        path = parts.path.split("/")
        if parts.hostname in _ENTRA_HOSTS and len(path) > 1 and path[1] in _TENANT_ALIASES:
            return cls(issuer.replace(f"/{path[1]}/", f"/{TENANT_TEMPLATE}/", 1))
        return cls(issuer)

    @property
    def has_several_tenants(self) -> bool:
        """Whether people of different tenants come, whose identifiers say nothing without their issuer."""
        return TENANT_TEMPLATE in self.text

    def match(self, claims: Mapping[str, object]) -> str | None:
        """The issuer of these claims when it is the expected one, else None."""
        issuer = claims.get("iss")
        if not isinstance(issuer, str) or not issuer:
            return None
        return issuer if issuer == resolve_tenant(self.text, claims) else None


def resolve_tenant(text: str, claims: Mapping[str, object]) -> str | None:
    """`text` with `{tenantid}` replaced by the tenant of the claims (`tid`); None when that is no tenant id."""
    if TENANT_TEMPLATE not in text:
        return text
    tenant = claims.get("tid")
    if not isinstance(tenant, str) or not _TENANT_ID.fullmatch(tenant):
        return None
    return text.replace(TENANT_TEMPLATE, tenant)
