"""Verified is not yet allowed: who among the people of a provider may come in. Pure module."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowRule:
    """The people whom the operator named. An empty rule names nobody; what that means is for its user to decide."""

    subjects: frozenset[str] = frozenset()
    """Identifiers of people (`sub`), or `ISSUER|SUB`."""
    domains: frozenset[str] = frozenset()
    """Domains of verified mail addresses, lower case."""
    anybody: bool = False
    has_several_tenants: bool = False
    """Whether a bare `sub` says too little: another tenant of the issuer could have the same one."""

    @property
    def is_empty(self) -> bool:
        return not (self.subjects or self.domains or self.anybody)

    def admits(self, *, issuer: str, subject: str, email_domain: str | None) -> bool:
        if self.anybody or f"{issuer}|{subject}" in self.subjects:
            return True
        if not self.has_several_tenants and subject in self.subjects:
            return True
        return email_domain is not None and email_domain in self.domains

    def describe(self) -> str:
        """Who that is, in words; nobody is named."""
        if self.anybody:
            return "everybody with an account at the provider"
        parts: list[str] = []
        if self.subjects:
            parts.append("1 named person" if len(self.subjects) == 1 else f"{len(self.subjects)} named people")
        if self.domains:
            parts.append(f"verified mail addresses at {', '.join(sorted(self.domains))}")
        return " and ".join(parts) or "nobody"
