"""What is counted of one family, with real processes, files and folders."""

import os
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from fluidmcp.processes.starter_child.families import Stat, read_stat
from fluidmcp.processes.starter_child.held import Held, HeldFiles
from fluidmcp.processes.starter_child.memory import find_memory_excess
from fluidmcp.processes.starter_child.meter import Meter, measure_folder
from fluidmcp.processes.starter_child.order import Kept, Limits, Notice

MEGABYTE: Final = 1 << 20
LIMITS: Final = Limits(memory_bytes=1 << 40, processes=100, open_files=100, disk_bytes=1 << 40)
DEAD_FIRST_THREAD: Final = """
import ctypes, os, threading, time
kept = bytearray(os.urandom(4096) * (64 * 256))
file = os.memfd_create("held"); os.write(file, b"x" * (8 << 20))
def go_on():
    while ") Z " not in open("/proc/self/stat").read():
        time.sleep(0.01)
    print("ready", flush=True)
    time.sleep(600)
threading.Thread(target=go_on).start()
ctypes.CDLL(None).syscall(60 if os.uname().machine == "x86_64" else 93, 0)
"""
CHILD_THAT_MAPS_A_FILE: Final = """
import mmap, sys, time
opened = open(sys.argv[1], "rb")
file = mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ)
sum(file[at] for at in range(0, len(file), 4096))
print("ready", flush=True)
time.sleep(600)
"""


@contextmanager
def running(code: str, *args: str) -> Generator[Stat]:
    """A process that has said that it is ready."""
    with subprocess.Popen([sys.executable, "-I", "-c", code, *args], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            stat = read_stat(process.pid)
            assert stat is not None
            yield stat
        finally:
            process.kill()


def last(values: Iterator[int | None] | Iterator[Held | None]) -> object:
    return list(values)[-1]


@pytest.mark.threat("E03")
def test_a_process_whose_first_thread_has_ended_hides_nothing() -> None:
    with running(DEAD_FIRST_THREAD) as stat:
        assert stat.resident_bytes > 64 * MEGABYTE
        assert find_memory_excess([stat], 0, 60 * MEGABYTE) is not None
        assert last(HeldFiles().measure([stat.folder], None)) == Held(8 * MEGABYTE, 0)


def test_a_file_that_is_only_read_is_no_memory_of_its_reader(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * 64 * MEGABYTE)
    with running(CHILD_THAT_MAPS_A_FILE, str(tmp_path / "large")) as stat:
        assert stat.resident_bytes > 64 * MEGABYTE
        assert find_memory_excess([stat], 0, 60 * MEGABYTE) is None


def test_a_file_with_many_names_counts_once(tmp_path: Path) -> None:
    (tmp_path / "0").write_bytes(b"x" * MEGABYTE)
    for number in range(1, 10):
        os.link(tmp_path / "0", tmp_path / str(number))
    used = last(measure_folder(str(tmp_path), 1 << 40))
    assert isinstance(used, int)
    assert MEGABYTE <= used < 2 * MEGABYTE


def test_a_large_folder_is_not_walked_in_one_step(tmp_path: Path) -> None:
    for number in range(1000):
        (tmp_path / str(number)).touch()
    assert len(list(measure_folder(str(tmp_path), 1 << 40))) > 3


def test_a_number_that_was_given_anew_is_watched_once() -> None:
    told: list[Notice] = []
    meter = Meter(told.append)
    descriptors = len(os.listdir("/proc/self/fd"))
    with subprocess.Popen(["sleep", "600"]) as process:
        for _ in range(3):
            meter.add(Kept(process.pid, LIMITS, None))
        meter.look()
        assert len(os.listdir("/proc/self/fd")) == descriptors + 1
        process.kill()
    meter._next_look = 0.0  # pyright: ignore[reportPrivateUsage]
    meter.look()
    assert meter.pause_seconds() is None, "nothing is left to look at"
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert not told
