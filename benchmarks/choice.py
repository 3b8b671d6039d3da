"""Which gateways there are, and which of them a run takes."""

from pathlib import Path
from typing import Final

from benchmarks.gateways import Gateway
from benchmarks.limit import NAME as LIMIT
from benchmarks.limit import make_limit
from benchmarks.others import make_others
from benchmarks.ours import make_ours
from benchmarks.ours_with_login import make_ours_with_login

BEFORE: Final = "@before"
"""Behind the names of gateways of another checkout."""


def list_gateways() -> tuple[Gateway, ...]:
    return (make_limit(), *make_ours(), *make_ours_with_login(), *make_others())


def choose_gateways(names: tuple[str, ...], against: Path | None) -> tuple[Gateway, ...]:
    """The limit, and those of these names (none: all); with another checkout, each of ours beside its twin.

    Raises:
        LookupError: there is no gateway of that name.
    """
    known = {gateway.name: gateway for gateway in list_gateways()}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise LookupError(f"no such gateway: {', '.join(unknown)}; there are {', '.join(known)}")
    twins: dict[str, Gateway] = {}
    if against is not None:
        of_other = (*make_ours(against, suffix=BEFORE), *make_ours_with_login(against, suffix=BEFORE))
        twins = {twin.name: twin for twin in of_other}
    chosen: list[Gateway] = []
    for name, gateway in known.items():
        if name == LIMIT or not names or name in names:
            chosen += [twins[name + BEFORE]] if name + BEFORE in twins else []
            chosen.append(gateway)
    return tuple(chosen)
