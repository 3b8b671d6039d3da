"""The attacks of E01, E02 and E04 as data: what each goes for, who gets it without a wall, and which walls stop it.

Levels: `landlock` (one user for all), `uid` (landlock, and a user for each process), `namespace` (landlock, and
namespaces for each process), `auto` (as root all of it together). A level that a row does not name leaves this attack
open, and the tests say so as strictly as they say the opposite: docs/processes.md tells of it.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

ALL: Final = frozenset({"landlock", "uid", "namespace", "auto"})
"""Stopped by every wall."""
OTHER_USER: Final = frozenset({"uid", "namespace", "auto"})
"""Left open where all processes are one user's."""
OWN_NAMESPACE: Final = frozenset({"namespace", "auto"})
OTHER_KEYRING: Final = frozenset({"uid", "auto", "namespace-ordinary"})
"""Users and user namespaces have keyrings of their own; a namespace of root's is not one."""
WITH_USERS: Final = frozenset({"uid", "auto"})
"""Left open where root's servers are root."""
NOTHING: Final = frozenset[str]()

BOTH: Final = frozenset({"root", "ordinary"})
ROOT: Final = frozenset({"root"})
ORDINARY: Final = frozenset({"ordinary"})
NOBODY: Final = frozenset[str]()


def if_it_opens(path: str) -> frozenset[str]:
    """Root, where this machine has such a thing and lets root have it; a container does not."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    except OSError:
        return NOBODY
    return ROOT


def find_disk() -> str:
    """The device that the root directory is on, where it is one."""
    device = os.stat("/").st_dev
    link = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")
    return f"/dev/{link.resolve().name}" if link.exists() else "/dev/sda"


DISK: Final = find_disk()
CORE_PATTERN: Final = "/proc/sys/kernel/core_pattern"
FOR_WRITING: Final = {"flags": "w"}
LINK_TO_ROOT: Final = {"link": "root"}
LINK_TO_CWD: Final = {"link": "cwd", "rest": "token.txt"}
MOUNTS: Final = {"kind": "mnt"}
FILE: Final = "home/token.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    name: str
    attack: str
    """A function of tests/servers/hostile: `files.read`."""
    at: str = ""
    """The process that it goes for: victim, gateway, watchdog, keeper (of the victim), own keeper, starter."""
    path: str = ""
    """The place that it is told: one of Ground.paths, below the victim's `home` or `tmp`, or absolute."""
    seeks: str = ""
    """The loot that it has to find; without one it goes for an effect."""
    finds: frozenset[str] = BOTH
    """The users as whom it works where there is no wall."""
    stops: frozenset[str] = ALL
    """The levels that stop it; `namespace-ordinary`: where the gateway's user is an ordinary one."""
    local: bool = False
    """Also tried from a server that serves nobody in particular, which keeps the operator's files."""
    extra: dict[str, Any] = field(default_factory=dict[str, Any])

    local_stops: frozenset[str] | None = None
    """The levels that stop it from there, where they are others."""

    def works(self, level: str, user: str, *, is_local: bool = False) -> bool:
        is_there = level != "none" or self.at not in ("keeper", "own keeper", "starter")
        stops = self.local_stops if is_local and self.local_stops is not None else self.stops
        return is_there and user in self.finds and not stops & {level, f"{level}-{user}"}


def row(name: str, attack: str, **more: Any) -> Row:
    return Row(name=name, attack=attack, **more)


def both(name: str, attack: str, **more: Any) -> Row:
    """Tried from a server of a person's and from one of nobody's."""
    return Row(name=name, attack=attack, local=True, **more)


def proc(name: str, file: str, *, at: str = "victim", **more: Any) -> Row:
    return both(name, "procfs.read_one", at=at, extra={"file": file}, **more)


READING_PROC: Final[Sequence[Row]] = (
    proc("environ-of-the-other", "environ", seeks="token"),
    proc("environ-of-the-gateway", "environ", at="gateway", seeks="client_secret", finds=ROOT),
    proc("environ-of-the-watchdog", "environ", at="watchdog", finds=NOBODY),
    proc("maps-of-the-other", "maps"),
    proc("smaps-of-the-other", "smaps"),
    proc("auxv-of-the-other", "auxv"),
    proc("stack-of-the-other", "stack", finds=ROOT),
    proc("io-of-the-other", "io"),
    proc("syscall-of-the-other", "syscall"),
    proc("command-line-of-the-other", "cmdline", stops=OWN_NAMESPACE),
    both("environ-by-thread", "procfs.read_threads", at="victim", seeks="token"),
    both("environ-of-everybody", "procfs.read_everybody", seeks="token", extra={"file": "environ"}),
    both("environ-of-the-parents", "procfs.read_own_parents", seeks="client_secret", finds=ROOT),
    both("memory-of-the-other", "procfs.read_memory", at="victim", seeks="token"),
    both("memory-of-the-gateway", "procfs.read_memory", at="gateway", seeks="client_secret", finds=ROOT),
    both("tokens-in-the-gateway", "procfs.read_memory", at="gateway", seeks="token", finds=ROOT),
    both("memory-of-the-watchdog", "procfs.read_memory", at="watchdog", finds=ROOT),
    both("memory-of-the-keeper", "procfs.read_memory", at="keeper"),
    both("memory-of-the-starter", "procfs.read_memory", at="starter"),
    both("environ-of-the-starter", "procfs.read_one", at="starter", extra={"file": "environ"}),
    both("memory-for-writing", "procfs.write_memory", at="victim"),
    both("memory-of-the-watchdog-for-writing", "procfs.write_memory", at="watchdog", finds=ROOT),
    both("mapped-files", "procfs.read_mapped_files", at="victim", finds=ROOT),
    both("open-files", "procfs.read_descriptors", at="victim", seeks="token"),
    both("names-of-open-files", "procfs.list_descriptors", at="victim"),
    both("names-of-open-files-of-the-gateway", "procfs.list_descriptors", at="gateway", finds=ROOT),
    both("home-through-root", "procfs.read_by_link", at="victim", path=FILE, seeks="token", extra=LINK_TO_ROOT),
    both("home-through-cwd", "procfs.read_by_link", at="victim", seeks="token", extra=LINK_TO_CWD),
    row("name-of-the-home", "procfs.find_name", path="home/", stops=NOTHING),
)  # fmt: skip

TRACING: Final[Sequence[Row]] = (
    both("debugger-attaches", "tracing.attach", at="victim", seeks="token"),
    both("debugger-seizes", "tracing.seize", at="victim", seeks="token"),
    both("debugger-at-the-gateway", "tracing.attach", at="gateway", seeks="client_secret", finds=ROOT),
    both("debugger-at-the-watchdog", "tracing.seize", at="watchdog", finds=ROOT),
    both("debugger-at-the-keeper", "tracing.seize", at="keeper"),
    both("debugger-at-the-starter", "tracing.seize", at="starter"),
    both("memory-by-system-call", "tracing.vm_readv", at="victim", seeks="token"),
    both("descriptors-by-system-call", "tracing.take_descriptors", at="victim", seeks="token"),
    both("descriptors-of-the-gateway", "tracing.take_descriptors", at="gateway", finds=ROOT),
    both("compared-by-the-kernel", "tracing.compare", at="victim"),
    both("list-of-locks", "tracing.robust_list", at="victim"),
    both("performance-counter", "tracing.count_events", at="victim"),
    row("bpf", "tracing.load_program", finds=ROOT),
)  # fmt: skip

READING_FILES: Final[Sequence[Row]] = (
    row("home-by-path", "files.read", path=FILE, seeks="token"),
    row("temporary-folder-by-path", "files.read", path="tmp/token.txt", seeks="token"),
    row("homes-by-looking-around", "files.look_around", seeks="token"),
    row("tokens-of-the-operator", "files.read", path="tokens", seeks="tokens"),
    row("env-file", "files.read", path="env_file", seeks="env_file"),
    row("config-file", "files.read", path="config", seeks="config"),
    row("folder-of-another-package", "files.read", path="other_secret", seeks="other_package"),
    row("key-of-the-operator", "files.read", path="ssh_key", seeks="ssh_key"),
    row("home-by-symlink", "files.read_by_symlink", path=FILE, seeks="token"),
    row("home-by-hardlink", "files.read_by_hardlink", path=FILE, seeks="token"),
    row("home-by-renaming", "files.read_by_renaming", path="home/spare.txt", seeks="token"),
    row("home-by-handle", "files.read_by_handle", path=FILE, seeks="token", finds=ROOT),
    row("home-by-place", "files.read_by_path_descriptor", path=FILE, seeks="token"),
    row("text-of-a-link", "files.read_link", path="home/link", seeks="token", stops=OTHER_USER),
    row("attribute-of-a-file", "files.read_attribute", path=FILE, seeks="token", stops=OTHER_USER),
    row("size-of-a-file", "files.look_at", path=FILE, stops=OTHER_USER),
    row("watched-home", "files.watch", path="home/", stops=OTHER_USER),
    row("watched-machine", "files.watch_machine", finds=ROOT),
    row("terminal", "files.listen_at_terminal", path="terminal", seeks="typed"),
    row("inherited-descriptors", "files.inherited", finds=NOBODY),
)  # fmt: skip

WRITING_FILES: Final[Sequence[Row]] = (
    row("program-in-the-others-home", "files.write", path="home/run.sh"),
    row("file-in-the-others-home", "files.create", path="home/"),
    row("npm-cache", "files.create", path="npm_cache"),
    row("cached-npm-package", "files.write", path="npm_cached"),
    row("uv-cache", "files.create", path="uv_cache"),
    row("cached-python-module", "files.write", path="uv_cached"),
    row("its-own-program", "files.write", path="own_program"),
    row("its-own-package", "files.create", path="own_package"),
    row("another-package", "files.create", path="other_folder"),
    row("installed-packages", "files.create", path="packages"),
    row("directory-of-the-gateway", "files.create", path="work"),
    row("shell-of-the-operator", "files.write", path="bashrc"),
    row("tokens-of-the-operator-for-writing", "files.write", path="tokens"),
    row("directory-of-the-machine", "files.create_nameless", path="/etc", finds=ROOT),
    row("closed-home", "files.close_off", path="home/", stops=OTHER_USER),
    row("closed-tokens", "files.close_off", path="oauth_folder", stops=OTHER_USER),
    row("opened-tokens", "files.open_up", path="tokens", stops=OTHER_USER),
    row("aged-file", "files.age", path=FILE, stops=OTHER_USER),
)  # fmt: skip

SHARING: Final[Sequence[Row]] = (
    row("shared-memory-files", "files.read_shared_memory", seeks="token"),
    row("system-v-segments", "sharing.segments", seeks="token", stops=OTHER_USER),
    row("message-queue", "sharing.queue", seeks="token"),
    row("key-of-the-user", "sharing.user_key", seeks="token", stops=OTHER_KEYRING),
    row("key-of-the-session", "sharing.session_key", seeks="session_key"),
    both("abstract-socket", "sharing.abstract_socket", seeks="token"),
    row("socket-by-path", "sharing.path_socket", path="tmp/socket", seeks="token", stops=OTHER_USER),
    row("socket-by-list", "sharing.listed_path_socket", seeks="token", stops=OTHER_USER),
    row("agent-of-the-operator", "sharing.path_socket", path="agent", seeks="agent", stops=OTHER_USER),
    row("packets-of-loopback", "sharing.sniff", seeks="token", finds=ROOT),
    row("port-of-the-gateway", "sharing.take_port", finds=NOBODY),
)  # fmt: skip

LOCAL: Final[Sequence[Row]] = (
    row("home-by-path", "files.read", path=FILE, seeks="token", stops=OTHER_USER),
    row("homes-by-looking-around", "files.look_around", seeks="token", stops=OTHER_USER),
    row("home-by-handle", "files.read_by_handle", path=FILE, seeks="token", finds=ROOT, stops=OTHER_USER),
    row("system-v-segments", "sharing.segments", seeks="token", stops=OTHER_USER),
    row("socket-by-path", "sharing.path_socket", path="tmp/socket", seeks="token", stops=OTHER_USER),
    row("key-of-the-session", "sharing.session_key", seeks="session_key"),
    row("packets-of-loopback", "sharing.sniff", seeks="token", finds=ROOT),
    row("core-pattern", "escaping.open_special", path=CORE_PATTERN, finds=ROOT, extra=FOR_WRITING, stops=OWN_NAMESPACE),
    row("capabilities", "escaping.raise_capabilities", finds=ROOT, stops=WITH_USERS),
    row("made-device", "escaping.make_device", path="/dev/zero", finds=ROOT),
    row("mount-in-a-namespace", "escaping.mount_in_namespace", path=FILE, seeks="token"),
    row("restart-of-the-machine", "escaping.restart_machine", finds=ROOT),
)  # fmt: skip
"""E01 and E04, from a server of nobody's alone: it keeps the operator's files, and a person's files are the operator's
where all processes are one user's. Nobody should serve persons and strangers' packages like that as root.
"""

READING: Final = (*READING_PROC, *TRACING, *READING_FILES, *WRITING_FILES, *SHARING)
"""E01."""


def end(name: str, at: str, number: str, *, attack: str = "signals.kill", **more: Any) -> Row:
    return both(name, attack, at=at, extra={"signal": number}, **more)


SIGNALS: Final[Sequence[Row]] = (
    end("term-to-the-other", "victim", "SIGTERM"),
    end("kill-to-the-other", "victim", "SIGKILL"),
    end("stop-to-the-other", "victim", "SIGSTOP"),
    end("kill-to-the-group", "victim", "SIGKILL", attack="signals.kill_group"),
    end("kill-to-the-thread", "victim", "SIGKILL", attack="signals.kill_thread"),
    end("kill-to-any-thread", "victim", "SIGKILL", attack="signals.kill_any_thread"),
    end("queued-kill", "victim", "SIGKILL", attack="signals.queue"),
    end("queued-kill-to-the-thread", "victim", "SIGKILL", attack="signals.queue_thread"),
    end("kill-by-pidfd", "victim", "SIGKILL", attack="signals.by_handle"),
    end("kill-by-socket", "victim", "SIGKILL", attack="signals.by_socket"),
    end("signal-to-everybody", "", "SIGURG", attack="signals.kill_everybody"),
    end("stop-to-the-watchdog", "watchdog", "SIGSTOP"),
    end("kill-to-the-watchdog", "watchdog", "SIGKILL"),
    end("stop-to-the-keeper", "keeper", "SIGSTOP"),
    end("kill-to-the-keeper", "keeper", "SIGKILL"),
    end("stop-to-its-own-keeper", "own keeper", "SIGSTOP", attack="signals.kill_parent"),
    end("kill-to-its-own-keeper", "own keeper", "SIGKILL", attack="signals.kill_parent"),
    end("stop-to-the-starter", "starter", "SIGSTOP"),
    end("kill-to-the-starter", "starter", "SIGKILL"),
    row("no-processor-time-for-the-other", "signals.limit_time", at="victim", stops=OTHER_USER),
    row("no-files-for-the-other", "signals.limit_files", at="victim", stops=OTHER_USER),
    row(
        "no-files-for-the-gateway", "signals.limit_files", at="gateway", stops=OTHER_USER, local_stops=OWN_NAMESPACE
    ),
    row("slower", "signals.slow_down", at="victim", stops=OTHER_USER),
    row("on-one-processor", "signals.pin", at="victim", stops=OTHER_USER),
    row("first-to-go-when-memory-is-short", "procfs.adjust_score", at="victim", local_stops=OTHER_USER),
    row("more-in-its-core-dump", "procfs.filter_core", at="victim", local_stops=OTHER_USER),
    # The last ones, as they end the gateway.
    end("stop-to-the-gateway", "gateway", "SIGSTOP"),
    end("term-to-the-gateway", "gateway", "SIGTERM"),
    end("kill-to-the-gateway", "gateway", "SIGKILL"),
)  # fmt: skip
"""E02. Whether they work is seen by the test, not told by the attacker."""


ESCAPES: Final[Sequence[Row]] = (
    row("root-of-a-user-namespace", "escaping.new_user", path=FILE, seeks="token"),
    row("mount-in-a-namespace", "escaping.mount_in_namespace", path=FILE, seeks="token"),
    row("mount-without-a-namespace", "escaping.mount_here", path=FILE, seeks="token", finds=ROOT),
    row("proc-of-its-own", "escaping.mount_proc", at="victim", seeks="token", finds=ROOT),
    row("out-of-a-root", "escaping.leave_root", path=FILE, seeks="token"),
    row("pivoted-root", "escaping.pivot", path=FILE, seeks="token"),
    row("mounts-of-the-other", "escaping.enter", at="victim", path=FILE, seeks="token", finds=ROOT, extra=MOUNTS),
    row("mounts-of-gateway", "escaping.enter", at="gateway", path="tokens", seeks="tokens", extra=MOUNTS, finds=ROOT),
    row("processes-of-the-gateway", "escaping.enter", at="gateway", finds=ROOT, extra={"kind": "pid"}),
    row("users-of-the-other", "escaping.enter", at="victim", finds=NOBODY, extra={"kind": "user"}),
    row("second-ruleset", "escaping.second_ruleset", path=FILE, seeks="token"),
    row("user-map", "escaping.map_users", finds=NOBODY),
    row("another-user", "escaping.change_user", finds=ROOT),
    row("becoming-the-other", "escaping.become_other", at="victim", path=FILE, seeks="token"),
    row("capabilities", "escaping.raise_capabilities", finds=ROOT),
    row("capabilities-of-a-new-program", "escaping.regain_by_exec", finds=ROOT),
    row("setuid-program", "escaping.setuid_program", path="setuid"),
    row("io-uring", "escaping.ring_open", path=FILE, seeks="token"),
    row("program-in-memory", "escaping.memory_program", path=FILE, seeks="token"),
    row("core-pattern", "escaping.open_special", path=CORE_PATTERN, finds=ROOT, extra=FOR_WRITING),
    row("sysrq", "escaping.open_special", path="/proc/sysrq-trigger", finds=NOBODY, extra=FOR_WRITING),
    row("memory-of-the-machine", "escaping.open_special", path="/dev/mem", finds=if_it_opens("/dev/mem")),
    row("memory-of-the-kernel", "escaping.open_special", path="/proc/kcore", finds=if_it_opens("/proc/kcore")),
    row("disk", "escaping.open_special", path=DISK, finds=if_it_opens(DISK)),
    row("made-device", "escaping.make_device", path="/dev/zero", finds=ROOT),
    row("typing-for-the-operator", "escaping.type_for_operator", path="terminal", finds=ROOT),
    row("restart-of-the-machine", "escaping.restart_machine", finds=ROOT),
    row("name-of-the-machine", "escaping.rename_machine", finds=ROOT),
    row("memory-swapped-to-a-file", "escaping.swap_to_file", finds=ROOT),
)  # fmt: skip
"""E04, but for those that stay after the end of their server."""

STAYING: Final[Sequence[Row]] = (
    row("in-a-session-of-its-own", "staying.leave", extra={"is_marked": True}),
    row("without-environment", "staying.leave_without_environment"),
    row("with-erased-environment", "staying.leave_with_erased_environment"),
    row("first-of-a-process-namespace", "staying.leave_through_namespace"),
    row("others-all-the-time", "staying.race"),
    row("deaf-to-signals", "signals.ignore_everything", extra={"is_marked": True}),
)  # fmt: skip
"""E04: processes that are there when their server is not any more."""

HOMES: Final[Sequence[Row]] = (
    row("deep", "homes.deep", finds=NOBODY),
    row("wide", "homes.wide", finds=NOBODY),
    row("linked", "homes.linked", finds=NOBODY),
    row("locked", "homes.locked", finds=NOBODY),
    row("strange", "homes.strange", finds=NOBODY),
    row("immutable", "homes.immutable", finds=ROOT),
    row("replaced", "homes.replaced", finds=NOBODY),
)  # fmt: skip
"""E04: homes that are not deleted."""
