"""Which isolation is in force: what was asked for, held against what the machine has. Never silently less.

Levels add up: every one but `none` has Landlock; `uid` adds a user id of its own for each process, `namespace` adds
PID, mount and IPC namespaces (and a user namespace where the gateway is not root). `auto` takes all that is there.
"""

import pwd
from dataclasses import dataclass
from typing import Final

from fluidmcp.config.isolation import IsolationLevel
from fluidmcp.errors import ConfigurationError
from fluidmcp.processes.starter_child.landlock import SCOPES_ABI
from fluidmcp.processes.starter_child.order import Machine
from fluidmcp.processes.starter_child.syscalls import is_known_machine

NO_MACHINE: Final = Machine(
    landlock_abi=0,
    no_landlock="it needs Linux on x86_64 or aarch64",
    no_namespaces="it needs Linux on x86_64 or aarch64",
    no_user_ids="it needs Linux on x86_64 or aarch64",
)
"""What there is where the starter cannot run."""

_TRUNCATE_ABI: Final = 3
"""From this ABI on Landlock restricts emptying a file too, and not only opening it for writing."""

_HOW: Final = {
    "landlock": "Landlock needs Linux 5.13 or later with `landlock` among the active security modules "
    "(cat /sys/kernel/security/lsm; else the kernel option lsm=landlock,...), and in a container a seccomp profile "
    "that allows landlock_create_ruleset (that of Docker 23 or later does; gVisor has none). A service of systemd "
    "needs these calls in its SystemCallFilter, and no RestrictSUIDSGID, which refuses openat2.",
    "uid": "Start the gateway as root with CAP_SETUID, CAP_SETGID, CAP_CHOWN, CAP_DAC_OVERRIDE and CAP_KILL, "
    "and give it ids that nobody else has: FMCP_UID_RANGE=200000-200999.",
    "namespace": "Namespaces need user namespaces for ordinary users (Ubuntu 23.10 and later: sysctl "
    "kernel.apparmor_restrict_unprivileged_userns=0 or an AppArmor profile; Debian: "
    "kernel.unprivileged_userns_clone=1), or root with CAP_SYS_ADMIN; in a container also "
    "docker run --security-opt seccomp=unconfined, and either --security-opt systempaths=unconfined or, as root, "
    "--cap-add SYS_ADMIN --security-opt apparmor=unconfined.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wall:
    """What is in force for the processes of a package."""

    has_landlock: bool = False
    has_user_ids: bool = False
    has_namespaces: bool = False
    weakness: str = ""
    """What this machine's version of it lacks; empty: nothing."""

    @property
    def is_none(self) -> bool:
        return not self.has_landlock

    def describe(self) -> str:
        """`landlock+uid+namespace`, or `none`."""
        parts = {"landlock": self.has_landlock, "uid": self.has_user_ids, "namespace": self.has_namespaces}
        return "+".join(name for name, is_there in parts.items() if is_there) or "none"


def choose_wall(level: IsolationLevel, machine: Machine, user_ids: range | None) -> Wall:
    """What `level` means on this machine.

    Raises:
        ConfigurationError: a level that was asked for by its name cannot be had here; the message says what is missing.
    """
    if level == "none":
        return Wall()
    no_user_ids = machine.no_user_ids or ("" if user_ids is not None else "FMCP_UID_RANGE is not set")
    lacks = {"landlock": machine.no_landlock, "uid": no_user_ids, "namespace": machine.no_namespaces}
    if level == "auto" and lacks["landlock"]:
        return Wall(weakness=f"Landlock: {lacks['landlock']}")
    needed = () if level == "auto" else dict.fromkeys(("landlock", level))
    for part in needed:
        if lacks[part]:
            raise ConfigurationError(
                f"The isolation `{level}` cannot be had on this machine.",
                why=f"{part} is missing: {lacks[part]}.",
                hint=f"{_HOW[part]} Or ask for less with `isolation` or FMCP_ISOLATION (auto takes what there is).",
            )
    return Wall(
        has_landlock=True,
        has_user_ids=level in ("auto", "uid", "namespace") and not no_user_ids,
        has_namespaces=level in ("auto", "namespace") and not machine.no_namespaces,
        weakness=_find_weakness(machine.landlock_abi),
    )


def refuse_accounts(user_ids: range) -> None:
    """Refuse ids that have an account: servers could read its owner's files, and would kill its processes.

    Raises:
        ConfigurationError: somebody on this machine has one of them.
    """
    for account in pwd.getpwall():
        if account.pw_uid in user_ids:
            raise ConfigurationError(
                "FMCP_UID_RANGE holds an id that is in use on this machine.",
                why=f"{account.pw_uid} is the account `{account.pw_name}`: server processes would be that user.",
                hint="Give it ids that nobody has, for example FMCP_UID_RANGE=200000-200999.",
            )


def _find_weakness(abi: int) -> str:
    lacks: list[str] = []
    if abi < _TRUNCATE_ABI:
        lacks.append("files can be emptied before Linux 6.2")
    if abi < SCOPES_ABI:
        lacks.append("signals and abstract sockets are not kept inside before Linux 6.12")
    return f"Landlock ABI {abi}: {'; '.join(lacks)}" if lacks else ""


def refuse_none(name: str, wall: Wall, level: IsolationLevel) -> ConfigurationError:
    """Why a package without any isolation is not served to strangers."""
    if level == "none":
        why = "Its isolation is `none`, and others than you use this gateway: a server could read everybody's tokens."
        hint = "Set another isolation (auto takes what the machine has), or add --allow-unisolated."
    else:
        why = f"Others than you use this gateway, and this machine has nothing to isolate with: {wall.weakness}."
        hint = f"{_HOW['landlock']} Or add --allow-unisolated, if you trust every server and every person."
    return ConfigurationError(f"The server processes of '{name}' would not be isolated.", why=why, hint=hint)


def paths_too_wide(name: str, path: str) -> ConfigurationError:
    """Why a path of an entry is not opened to the processes of persons."""
    return ConfigurationError(
        f"A path of {name} is too wide: {path}",
        why="The operator's own files, or the private homes of all people, lie below it.",
        hint="Name the folders that the server needs, one by one, in `paths` of the entry.",
    )


class UserIds:
    """Hands out the ids of a range, each to one process at a time, the longest unused first."""

    def __init__(self, ids: range | None) -> None:
        self._free = list(ids or ())

    def take(self) -> int | None:
        return self._free.pop(0) if self._free else None

    def give_back(self, user_id: int) -> None:
        self._free.append(user_id)


def can_isolate() -> bool:
    """Whether the starter runs on this kind of machine at all."""
    return is_known_machine()
