"""Wheel and sdist: built twice, with the same bytes each time, and compared with what git has, file by file."""

import email
import hashlib
import re
import stat
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from fluidmcp.errors import UserError
from tests.acceptance.harness import BIN
from tests.release.project import Project, run

_WHEEL_EXTRAS: Final = ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")
_SDIST_EXTRAS: Final = ("PKG-INFO", ".gitignore", "pyproject.toml")
_SDIST_PLACES: Final = ("src/", "docs/", "deploy/")
_SDIST_FILES: Final = frozenset({"README.md", "LICENSE", "CHANGELOG.md", "ARCHITECTURE.md", "SECURITY.md"})
_NEEDED: Final = (
    "fluidmcp/py.typed",
    "fluidai_mcp/py.typed",
    "fluidmcp/pages/templates/home.html",
    "fluidmcp/pages/static/pages.css",
    "fluidmcp/packages/shipped/test/gmail-mock/1.0.0/metadata.json",
)
_PRIVATE_NAME: Final = re.compile(r"\.env(\..*)?|.*\.(pem|key|p12|pfx)|id_[a-z0-9]+|tokens\.json|\.netrc|\.pypirc")
_PRIVATE_KEY: Final = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/=]{16}")
_SHOWN_FILES: Final = 8


@dataclass(frozen=True, slots=True)
class File:
    content: bytes
    is_executable: bool


def build_twice(project: Project, work: Path) -> tuple[Path, Path]:
    """The wheel and the sdist of a build in `work`.

    The wheel is built from the sdist. The second build begins with nothing but what the commit holds, in another
    folder, time zone and umask, and its wheel comes straight from there: four things that must not matter.

    Raises:
        UserError: a build failed, or the two differ.
    """
    first, second, copy = work / "first", work / "second", work / "copy"
    epoch = {"SOURCE_DATE_EPOCH": str(project.epoch)}
    run([BIN / "uv", "build", "--quiet", "--out-dir", first], cwd=project.root, env=epoch)
    copy.mkdir()
    run(["git", "archive", "--format=tar", f"--output={work / 'commit.tar'}", "HEAD"], cwd=project.root)
    run(["tar", "--extract", f"--file={work / 'commit.tar'}"], cwd=copy, umask=0o077)
    run(
        [BIN / "uv", "build", "--quiet", "--sdist", "--wheel", "--out-dir", second],
        cwd=copy,
        env=epoch | {"TZ": "Asia/Tokyo"},
        umask=0o077,
    )
    for name in (project.wheel_name, project.sdist_name):
        if not (first / name).is_file():
            raise UserError(f"The build made no {name}.", hint="Compare the name and the version in pyproject.toml.")
        if (first / name).read_bytes() != (second / name).read_bytes():
            raise UserError(f"Two builds of {name} differ.", hint=f"Compare them: {first / name} and {second / name}.")
    return first / project.wheel_name, first / project.sdist_name


def read_wheel(path: Path) -> dict[str, File]:
    with zipfile.ZipFile(path) as archive:
        return {
            entry.filename: File(archive.read(entry), bool(entry.external_attr >> 16 & stat.S_IXUSR))
            for entry in archive.infolist()
            if not entry.is_dir()
        }


def read_sdist(path: Path, *, stem: str) -> dict[str, File]:
    """Without the folder that holds everything."""
    found: dict[str, File] = {}
    with tarfile.open(path) as archive:
        for entry in archive:
            stream = archive.extractfile(entry) if entry.isfile() else None
            content = b"" if stream is None else stream.read()
            found[entry.name.removeprefix(f"{stem}/")] = File(content, bool(entry.mode & stat.S_IXUSR))
    return found


def check_contents(project: Project, wheel: Path, sdist: Path) -> None:
    """Raises UserError where something is missing, was added, or lost its right to be executed."""
    tracked = _list_tracked(project)
    info = f"{project.stem}.dist-info/"
    in_wheel = read_wheel(wheel)
    expected = {name.removeprefix("src/"): file for name, file in tracked.items() if name.startswith("src/")}
    compare_files(wheel, in_wheel, expected, [f"{info}{name}" for name in _WHEEL_EXTRAS])
    missing = [name for name in _NEEDED if name not in in_wheel]
    if missing:
        raise UserError(f"{wheel.name} is not complete.", why=f"It holds no {', '.join(missing)}.")
    in_sdist = read_sdist(sdist, stem=project.stem)
    expected = {name: f for name, f in tracked.items() if name.startswith(_SDIST_PLACES) or name in _SDIST_FILES}
    compare_files(sdist, in_sdist, expected, _SDIST_EXTRAS)
    check_private(wheel, in_wheel)
    check_private(sdist, in_sdist)
    metadata = email.message_from_bytes(in_wheel[f"{info}METADATA"].content)
    if (metadata["Name"], metadata["Version"]) != (project.name, project.version):
        raise UserError(f"{wheel.name} says that it is {metadata['Name']} {metadata['Version']}.")


def check_descriptions(wheel: Path, sdist: Path) -> None:
    """What a package index would refuse, or show wrongly. Raises UserError with twine's own words."""
    run([BIN / "twine", "--no-color", "check", "--strict", wheel, sdist], cwd=wheel.parent)


def write_checksums(paths: Iterable[Path], target: Path) -> None:
    """The form that `sha256sum --check` reads."""
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(paths)]
    target.write_text("".join(lines), encoding="ascii")


def _list_tracked(project: Project) -> dict[str, File]:
    """Files of the commit; their content as it lies in the clean tree."""
    found: dict[str, File] = {}
    for line in run(["git", "ls-files", "--stage", "-z"], cwd=project.root).rstrip("\0").split("\0"):
        about, _, name = line.partition("\t")
        found[name] = File((project.root / name).read_bytes(), about.startswith("100755"))
    return found


def compare_files(archive: Path, held: Mapping[str, File], expected: Mapping[str, File], extras: Iterable[str]) -> None:
    """Raises UserError where `held` is anything but `expected` and files of the names `extras`."""
    extra_names = frozenset(extras)
    faults = [f"{name} is missing" for name in sorted(expected.keys() | extra_names) if name not in held]
    faults += [f"{name} does not belong there" for name in sorted(held.keys() - expected.keys() - extra_names)]
    faults += [
        f"{name} is not what the commit has" for name in expected if name in held and held[name] != expected[name]
    ]
    if faults:
        more = f" (and {len(faults) - _SHOWN_FILES} more)" if len(faults) > _SHOWN_FILES else ""
        raise UserError(
            f"{archive.name} does not hold what it should.",
            why=f"{'; '.join(faults[:_SHOWN_FILES])}{more}.",
            hint="See [tool.hatch.build] in pyproject.toml, and .gitignore.",
        )


def check_private(archive: Path, held: Mapping[str, File]) -> None:
    """Raises UserError where the name or the text of a file says that it is private."""
    for name, file in held.items():
        if _PRIVATE_NAME.fullmatch(PurePosixPath(name).name) or _PRIVATE_KEY.search(file.content):
            raise UserError(f"{archive.name} holds {name}, which looks private.", hint="Take it out of the repository.")
