"""Ways to hold another process by its number: debuggers, its memory, its descriptors, its counters."""

import ctypes
import errno
import os
import stat
import struct
from pathlib import Path
from typing import Final

from . import system
from .orders import Finder, Order, Outcome, outcome_of, worked
from .procfs import writable_areas

_PTRACE_PEEKDATA: Final = 2
_PTRACE_ATTACH: Final = 16
_PTRACE_DETACH: Final = 17
_PTRACE_SEIZE: Final = 0x4206
_PTRACE_INTERRUPT: Final = 0x4207
_KCMP_VM: Final = 1
_WALL: Final = 0x40000000
_MAX_ENVIRONMENT_BYTES: Final = 16 * 1024
_ENV_START: Final = 47
"""Index in /proc/PID/stat after the name (fields 3 and on): field 50."""


def attach(order: Order) -> Outcome:
    """Stop it as a debugger does, and read its environment word by word."""
    system.call(system.PTRACE, _PTRACE_ATTACH, order.pid, 0, 0)
    return _read_traced(order)


def seize(order: Order) -> Outcome:
    """As `attach`, in the newer way that does not stop it first."""
    system.call(system.PTRACE, _PTRACE_SEIZE, order.pid, 0, 0)
    system.call(system.PTRACE, _PTRACE_INTERRUPT, order.pid, 0, 0)
    return _read_traced(order)


def _read_traced(order: Order) -> Outcome:
    os.waitpid(order.pid, _WALL)
    finder = Finder(order)
    try:
        start, end = environment_of(order.pid)
        word, words = ctypes.c_ulong(), bytearray()
        for at in range(start, min(end, start + _MAX_ENVIRONMENT_BYTES), 8):
            system.call(system.PTRACE, _PTRACE_PEEKDATA, order.pid, at, system.address(word))
            words += struct.pack("=Q", word.value)
        finder.feed(bytes(words), "its environment, peeked")
    finally:
        system.call(system.PTRACE, _PTRACE_DETACH, order.pid, 0, 0)
    return finder.outcome() if order.markers else worked("it was traced")


def vm_readv(order: Order) -> Outcome:
    """Reads its memory with one system call. An address that is wrong shows as well that nobody said no."""
    finder = Finder(order)
    try:
        areas = list(writable_areas(order.pid))
    except OSError:
        areas = [(0x10000, 0x11000)]
    for start, end in areas[:400]:
        size = min(end - start, 1024 * 1024)
        buffer = ctypes.create_string_buffer(size)
        local = (ctypes.c_size_t * 2)(system.address(buffer), size)
        remote = (ctypes.c_size_t * 2)(start, size)
        try:
            count = system.call(
                system.PROCESS_VM_READV, order.pid, system.address(local), 1, system.address(remote), 1, 0
            )
        except OSError as error:
            if error.errno == errno.EFAULT and len(areas) == 1:
                return worked("nobody said no; only the address was wrong")
            if error.errno != errno.EFAULT:
                raise
            continue
        finder.feed(buffer.raw[:count], f"memory at {start:x}")
    return finder.outcome()


def take_descriptors(order: Order) -> Outcome:
    """Copies its open descriptors with `pidfd_getfd`."""
    finder, errors, taken = Finder(order), list[OSError](), list[int]()
    handle = system.call(system.PIDFD_OPEN, order.pid, 0)
    for number in range(64):
        try:
            descriptor = system.call(system.PIDFD_GETFD, handle, number, 0)
        except OSError as error:
            if error.errno != errno.EBADF:
                errors.append(error)
            continue
        taken.append(number)
        try:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                finder.feed(os.pread(descriptor, 65536, 0), f"descriptor {number}")
        finally:
            os.close(descriptor)
    if taken and not order.markers:
        return worked(f"its descriptors {taken} were copied")
    return finder.outcome(errors)


def compare(order: Order) -> Outcome:
    """Asks the kernel whether it shares memory with this process."""
    answer = system.call(system.KCMP, os.getpid(), order.pid, _KCMP_VM, 0, 0)
    return worked(f"the kernel compared the two: {answer}")


def robust_list(order: Order) -> Outcome:
    """An address inside of it, which takes the place of a search where addresses are random."""
    head, size = ctypes.c_ulong(), ctypes.c_ulong()
    system.call(system.GET_ROBUST_LIST, order.pid, system.address(head), system.address(size))
    return worked(f"its list is at {head.value:x}")


def count_events(order: Order) -> Outcome:
    """Watches it with a performance counter."""
    attributes = ctypes.create_string_buffer(128)
    # type SOFTWARE, size, config TASK_CLOCK; flags: disabled, exclude_kernel, exclude_hv
    struct.pack_into("=IIQ", attributes, 0, 1, 128, 1)
    struct.pack_into("=Q", attributes, 40, 1 | 1 << 5 | 1 << 6)
    os.close(system.call(system.PERF_EVENT_OPEN, system.address(attributes), order.pid, -1, -1, 0))
    return worked("it can be watched")


def load_program(order: Order) -> Outcome:
    """Lists the BPF programs of the machine, which only who may load one for everybody can."""
    attributes = ctypes.create_string_buffer(128)
    try:
        system.call(system.BPF, 11, system.address(attributes), 128)
    except OSError as error:
        return worked("programs can be listed") if error.errno == errno.ENOENT else outcome_of(error)
    return worked("programs can be listed")


def environment_of(pid: int) -> tuple[int, int]:
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return int(fields[_ENV_START]), int(fields[_ENV_START + 1])
