"""Every attack, by its name."""

from collections.abc import Callable, Mapping
from typing import cast

from . import escaping, files, homes, procfs, sharing, signals, staying, tracing, wild
from .orders import Order, Outcome

Attack = Callable[[Order], Outcome]

ROOMS = (escaping, files, homes, procfs, sharing, signals, staying, tracing, wild)


def find_attack(name: str) -> Attack:
    """`files.read` and so on: every public function of a module here that takes an order."""
    return ATTACKS[name]


def _all_attacks() -> Mapping[str, Attack]:
    found: dict[str, Attack] = {}
    for room in ROOMS:
        for name, value in vars(room).items():
            is_here = callable(value) and getattr(value, "__module__", "") == room.__name__
            if is_here and not name.startswith("_") and "order" in value.__annotations__:
                found[f"{room.__name__.rpartition('.')[2]}.{name}"] = cast(Attack, value)
    return found


ATTACKS: Mapping[str, Attack] = _all_attacks()
