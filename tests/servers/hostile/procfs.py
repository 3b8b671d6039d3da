"""What /proc tells about other processes."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from .orders import Finder, Order, Outcome, worked

PROC: Final = Path("/proc")
_MAX_BYTES: Final = 96 * 1024 * 1024
_CHUNK_BYTES: Final = 1024 * 1024
_OVERLAP_BYTES: Final = 512


def read_one(order: Order) -> Outcome:
    """A file of /proc/PID, named by `extra["file"]`; found where the markers are in it, or it says anything at all."""
    data = (PROC / str(order.pid) / str(order.extra["file"])).read_bytes()
    if not order.markers:
        return worked(f"{len(data)} bytes") if data else Outcome("absent", "it is empty")
    finder = Finder(order)
    finder.feed(data, str(order.extra["file"]))
    return finder.outcome()


def read_own_parents(order: Order) -> Outcome:
    """The environment of whoever started this server, and of their parents."""
    finder, errors = Finder(order), list[OSError]()
    pid = os.getppid()
    for _ in range(8):
        pid = parent_of(pid)
        if pid <= 1:
            break
        for name in ("environ", "cmdline"):
            try:
                finder.feed((PROC / str(pid) / name).read_bytes(), f"{name} of {pid}")
            except OSError as error:
                errors.append(error)
    return finder.outcome(errors)


def read_everybody(order: Order) -> Outcome:
    """The file `extra["file"]` of every process and thread that there is."""
    finder, errors = Finder(order), list[OSError]()
    name = str(order.extra["file"])
    for pid in everybody():
        for path in (PROC / str(pid) / name, *PROC.glob(f"{pid}/task/*/{name}")):
            try:
                finder.feed(path.read_bytes(), str(path))
            except OSError as error:
                errors.append(error)
    return finder.outcome(errors)


def read_threads(order: Order) -> Outcome:
    """The environment by way of /proc/PID/task, and by a thread's number instead of the process's."""
    finder, errors = Finder(order), list[OSError]()
    tasks = os.listdir(PROC / str(order.pid) / "task")
    for task in tasks:
        for path in (PROC / str(order.pid) / "task" / task / "environ", PROC / task / "environ"):
            try:
                finder.feed(path.read_bytes(), str(path))
            except OSError as error:
                errors.append(error)
    return finder.outcome(errors)


def read_memory(order: Order) -> Outcome:
    """All that the process may write to, through /proc/PID/mem; found without markers when any of it can be read."""
    finder = Finder(order)
    errors = list[OSError]()
    with (PROC / str(order.pid) / "mem").open("rb", buffering=0) as memory:
        for start, end in writable_areas(order.pid):
            try:
                for at in range(start, end, _CHUNK_BYTES):
                    memory.seek(at)
                    finder.feed(memory.read(min(_CHUNK_BYTES + _OVERLAP_BYTES, end - at)), f"memory at {at:x}")
            except (OSError, ValueError) as error:
                errors.append(error if isinstance(error, OSError) else OSError(0, str(error)))
            if finder.bytes_seen > _MAX_BYTES or (order.markers and len(finder.found) == len(order.markers)):
                break
    if not order.markers and finder.bytes_seen:
        return worked(f"{finder.bytes_seen} bytes of memory")
    return finder.outcome(errors)


def write_memory(order: Order) -> Outcome:
    """Opens /proc/PID/mem for writing; that is enough to change what the process does."""
    os.close(os.open(PROC / str(order.pid) / "mem", os.O_RDWR))
    return worked("its memory could be written")


def read_mapped_files(order: Order) -> Outcome:
    """Files that it has mapped, through /proc/PID/map_files."""
    names = os.listdir(PROC / str(order.pid) / "map_files")
    for name in names[:200]:
        os.close(os.open(PROC / str(order.pid) / "map_files" / name, os.O_RDONLY))
    return worked(f"{len(names)} mapped files can be opened") if names else Outcome("absent", "no mapped files")


def read_descriptors(order: Order) -> Outcome:
    """What it holds open, through /proc/PID/fd: files without a name and memory files too."""
    finder, errors = Finder(order), list[OSError]()
    folder = PROC / str(order.pid) / "fd"
    for name in os.listdir(folder):
        try:
            descriptor = os.open(folder / name, os.O_RDONLY | os.O_NONBLOCK)
            try:
                if stat.S_ISREG(os.fstat(descriptor).st_mode):
                    finder.feed(os.pread(descriptor, 65536, 0), f"descriptor {name}")
            finally:
                os.close(descriptor)
        except OSError as error:
            errors.append(error)
    if finder.found:
        return finder.outcome()
    return finder.outcome(errors)


def list_descriptors(order: Order) -> Outcome:
    """What it holds open, by name alone."""
    folder = PROC / str(order.pid) / "fd"
    names = [os.readlink(folder / name) for name in os.listdir(folder)]
    return worked(", ".join(names[:5])) if names else Outcome("absent", "nothing is open")


def read_by_link(order: Order) -> Outcome:
    """Its files by way of /proc/PID/root or /proc/PID/cwd; `path`, or a name that lies there, is told."""
    finder = Finder(order)
    rest = str(order.extra.get("rest") or order.path.lstrip("/"))
    finder.feed((PROC / str(order.pid) / str(order.extra["link"]) / rest).read_bytes(), rest)
    return finder.outcome()


def adjust_score(order: Order) -> Outcome:
    """Makes it the first one that the kernel ends when memory is short. The test looks at it afterwards."""
    (PROC / str(order.pid) / "oom_score_adj").write_text("900", encoding="ascii")
    return worked("its score was changed")


def filter_core(order: Order) -> Outcome:
    """Asks for everything to be in its core dump."""
    (PROC / str(order.pid) / "coredump_filter").write_text("0x7f", encoding="ascii")
    return worked("its core dump filter was changed")


def find_name(order: Order) -> Outcome:
    """Looks for the secret name of the other home (told, to compare) in lists of the whole machine."""
    wanted = os.fsencode(order.path)
    for name in ("net/unix", "mounts", "locks", "self/mountinfo"):
        if wanted in (PROC / name).read_bytes():
            return worked(f"/proc/{name} names it")
    return Outcome("absent", "no list names it")


def everybody() -> Iterator[int]:
    own = {os.getpid(), os.getppid()}
    for name in os.listdir(PROC):
        if name.isdigit() and int(name) not in own:
            yield int(name)


def parent_of(pid: int) -> int:
    return int((PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()[1])


def writable_areas(pid: int) -> Iterator[tuple[int, int]]:
    for line in (PROC / str(pid) / "maps").read_text(encoding="utf-8", errors="replace").splitlines():
        span, permissions, *_ = line.split()
        if permissions.startswith("rw") and "[v" not in line:
            start, _, end = span.partition("-")
            yield int(start, 16), int(end, 16)
