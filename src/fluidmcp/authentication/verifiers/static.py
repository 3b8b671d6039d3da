"""A token that is good because it is the very one that was configured (`--secure`)."""

import hmac

from fluidmcp.config.secret import Secret


def is_same_token(given: str, expected: Secret) -> bool:
    """Whether the texts are equal, in a time that does not tell where they differ. Any text may be given."""
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected.reveal().encode("utf-8"))
