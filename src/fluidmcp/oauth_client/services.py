"""What every login of one gateway is built from: its address, keys, stores, and where time and chance come from.

One frozen value, so that a new capability changes this and who needs it, not each constructor on the way.
"""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from fluidmcp.config.settings import LoginLimits
from fluidmcp.crypto.sealing import Sealer
from fluidmcp.oauth_client.fetch import Fetcher
from fluidmcp.store.deny_list import DenyList
from fluidmcp.store.memory import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginServices:
    """`digest_key` is for keyed digests of tokens: known in this process only, or to all gateways with one store."""

    public_url: str
    digest_key: bytes
    sealer: Sealer
    fetcher: Fetcher
    """Asks the providers of packages."""
    pending_auth_states: Store
    """Logins that wait for their callback. A code_verifier is kept here and nowhere else."""
    handed_out: Store
    """Keyed digests of the tokens that the callbacks handed out."""
    grants: Store
    """What is remembered of the logins of MCP clients; no token can be read from it."""
    codes: Store
    """Authorization codes, each encrypted under itself, and how many requests an address has sent."""
    deny_list: DenyList
    """Who is shut out."""
    limits: LoginLimits = field(default_factory=LoginLimits)
    now: Callable[[], float] = time.time
    """Seconds since the epoch."""
    random_bytes: Callable[[int], bytes] = secrets.token_bytes
