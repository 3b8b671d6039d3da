"""How one known server is tried: which tool is called, and what its API answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

NOTHING: Final[Mapping[str, Any]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Without a tool the server is started and lists its tools: for one whose API cannot be played here."""

    tool: str = ""
    arguments: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    answers: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    """`METHOD HOST/PATH` -> JSON. WHO stands for the person whose credential came, and has to be in the result."""
    hosts: tuple[str, ...] = ()
    """Whose addresses are built into the server: their requests come through HTTPS_PROXY."""
    grpc: bool = False
    """It speaks gRPC with its host: `programs/grpc_api.py` hands its calls on to the stub."""
    base: str = ""
    """What the variable `base_url` of the known server is set to; STUB stands for the stub's address."""
    token: str = "token-of-{person}"
    """Some servers look at the form of a token."""
    keys: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    """What a person types for each key; TOKEN stands for the token, so that the keys of a person differ."""
    exports: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    """What the operator has exported; DATABASE stands for the address of a PostgreSQL."""
    env: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    """What its HTTP library wants instead of HTTPS_PROXY: STUB and AUTHORITY stand for the stub's address and for the
    certificate to trust, REDIRECT for `redirect.cjs`.
    """
