"""Real containers: images of deploy/Dockerfile, built by buildah and run by podman and crun, all from Debian.

There is no registry of images here. The base image is Debian's own Python in a root that mmdebstrap makes, so all but
the first line of the Dockerfile is what operators get. Docker's default filter of calls is derived from Podman's.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests import parts
from tests.timing import patience

BASE: Final = "localhost/python:tests"
GATEWAY: Final = "localhost/fluidmcp:gateway"
RUNTIMES: Final = "localhost/fluidmcp:runtimes"
TARGETS: Final = {GATEWAY: "gateway", RUNTIMES: "gateway-with-runtimes"}
PROFILE: Final = Path("/usr/share/containers/seccomp.json")
BUILD_LIMIT_SECONDS: Final = 900
RUN_LIMIT_SECONDS: Final = 120

# In a mount namespace of its own, where control groups are those of version 2 alone, which crun wants.
_ALONE: Final = 'umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; exec "$@"'

FOR_ADMINISTRATORS: Final = frozenset(
    "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr move_mount "
    "open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2 "
    "unshare".split()
)
"""Calls that Docker allows with CAP_SYS_ADMIN only, and Podman always."""
NEVER: Final = frozenset("add_key keyctl request_key pivot_root".split())
"""Calls that Docker never allows, and Podman does."""
NAMESPACE_FLAGS: Final = 0x7E020000


@dataclass(frozen=True, slots=True)
class Engine:
    """Its images and containers lie in a folder of its own."""

    folder: Path

    def run(self, program: str, *words: str | Path, limit: int = RUN_LIMIT_SECONDS) -> tuple[int, str]:
        """buildah or podman: the exit code, and all that was written."""
        stored = ("--root", self.folder / "store", "--runroot", self.folder / "run", "--storage-driver", "overlay")
        how = ("--runtime", "crun", "--cgroup-manager", "cgroupfs", "--events-backend", "none")
        command = ["unshare", "-m", "sh", "-c", _ALONE, "sh", program, *stored, *(how if program == "podman" else ())]
        done = subprocess.run(
            [*command, *words],
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "TMPDIR": str(self.folder)},
        )
        return done.returncode, done.stdout + done.stderr

    def load_base(self) -> None:
        """The base image, from the root of scripts/install-parts. Raises AssertionError with what was written."""
        # Certificates of this machine's network, which its own programs trust as well.
        certificates = "ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"
        self._must("podman", "import", "-c", certificates, parts.CONTAINER_BASE, BASE)

    def build(self, image: str) -> str:
        """The image of a target, which it then has. Raises AssertionError with what was written."""
        self._must(
            "buildah",
            *("bud", "--layers", "--isolation", "chroot", "--network", "host", "--ulimit", "nofile=4096:4096"),
            *("--format", "docker", "--build-arg", f"PYTHON_IMAGE={BASE}"),
            *("-v", "/etc/ssl/certs:/etc/ssl/certs:ro", "-f", parts.ROOT / "deploy" / "Dockerfile"),
            *("--target", TARGETS[image], "-t", image, parts.ROOT),
        )
        return image

    def start(self, image: str, flags: Sequence[str | Path], *words: str | Path) -> tuple[int, str]:
        """`podman run` to the end of what runs in it; on this machine without control groups and a network."""
        limits = ("--ulimit", "nofile=4096:4096", "--ulimit", "nproc=4096:4096", "--cgroups=disabled")
        return self.run("podman", "run", "--network", "none", "--no-healthcheck", *limits, *flags, image, *words)

    def close(self) -> None:
        self.run("podman", "rm", "--all", "--force", "--time", "0")
        # Whatever was mounted in it went with the mount namespaces of the commands.
        shutil.rmtree(self.folder, ignore_errors=True)

    def _must(self, program: str, *words: str | Path) -> None:
        # What is in an image comes through the network, on a machine that may be busy.
        with patience(2 * BUILD_LIMIT_SECONDS):
            code, told = self.run(program, *words, limit=BUILD_LIMIT_SECONDS)
        assert code == 0, told


def make_docker_profile(*, without: str = "") -> dict[str, Any]:
    """What Docker's default profile says of the calls that isolation makes; `without` calls that begin so."""
    profile: dict[str, Any] = json.loads(PROFILE.read_text(encoding="utf-8"))
    rules: list[dict[str, Any]] = []
    for rule in profile["syscalls"]:
        names = [name for name in rule["names"] if name not in FOR_ADMINISTRATORS and name not in NEVER]
        if without:
            names = [name for name in names if not name.startswith(without)]
        if names and rule["action"] == "SCMP_ACT_ALLOW":
            rules.append({**rule, "names": names})
    administrator = {"caps": ["CAP_SYS_ADMIN"]}
    allow: dict[str, Any] = {"action": "SCMP_ACT_ALLOW", "includes": {}, "excludes": {}, "args": []}
    no_namespaces = {"index": 0, "value": NAMESPACE_FLAGS, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}
    rules += [
        {**allow, "names": sorted(FOR_ADMINISTRATORS), "includes": administrator},
        {**allow, "names": ["clone"], "args": [no_namespaces], "excludes": administrator},
        {**allow, "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38, "excludes": administrator},
    ]
    return {**profile, "syscalls": rules, "defaultErrnoRet": 1, "defaultErrno": "EPERM"}
