"""What a process of a known person may reach of the file system: its runtime, its package, what its entry names.

The operator's own files are not in it, nor other packages' folders, nor the file that describes the servers. Landlock
only adds rights, so a folder is in it with all that is below; where something in it must stay out, the folder is listed
and the rest of it named one by one.
"""

import os
import os.path
import pwd
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from fluidmcp.processes.starter_child.order import Reach

SYSTEM_FOLDERS: Final = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store", "/proc")
_USR_LEFT_OUT: Final = frozenset({"local", "src", "home"})
_LOCAL_FOLDERS: Final = ("bin", "sbin", "lib", "lib32", "lib64", "libexec", "share", "include")
_SYSTEM_FILES: Final = (
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/ca-certificates.conf",
    "/etc/crypto-policies",
    "/etc/debian_version",
    "/etc/fonts",
    "/etc/gai.conf",
    "/etc/gitconfig",
    "/etc/group",
    "/etc/host.conf",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/inputrc",
    "/etc/java-17-openjdk",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/lsb-release",
    "/etc/machine-id",
    "/etc/magic",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/os-release",
    "/etc/passwd",
    "/etc/pki/ca-trust",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/tls/certs",
    "/etc/protocols",
    "/etc/python3",
    "/etc/python3.11",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/shells",
    "/etc/ssl/cert.pem",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/terminfo",
    "/etc/timezone",
    "/run/current-system",
    "/run/resolvconf",
    "/run/systemd/resolve",
    "/sys/devices/system",
    "/sys/fs/cgroup",
    "/sys/kernel/mm/transparent_hugepage",
)
"""What is reached of folders that hold secrets too: not `/etc/shadow`, host keys or files of services."""

_TOOL_FOLDERS: Final = (
    "PYENV_ROOT",
    "NVM_DIR",
    "FNM_DIR",
    "VOLTA_HOME",
    "ASDF_DATA_DIR",
    "MISE_DATA_DIR",
    "COREPACK_HOME",
    "UV_PYTHON_INSTALL_DIR",
    "TZDIR",
    "SSL_CERT_DIR",
)
CACHE_FOLDERS: Final = frozenset({"npm_config_cache", "uv_cache_dir", "uv_tool_dir", "pip_cache_dir"})
"""Variables, in lower case, that name what package managers keep: read by everybody, written by nobody who is known."""
_NAMED_FILES: Final = (
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "PIP_CERT",
    "npm_config_cafile",
    "npm_config_userconfig",
    "npm_config_globalconfig",
    "UV_CONFIG_FILE",
    "PIP_CONFIG_FILE",
)
_PROJECT_MARKS: Final = ("package.json", "pyproject.toml", "setup.py", "deno.json", "go.mod")
_CODE_ENDINGS: Final = (
    ".py",
    ".pyz",
    ".js",
    ".mjs",
    ".cjs",
    ".ts",
    ".mts",
    ".sh",
    ".rb",
    ".php",
    ".pl",
    ".jar",
    ".lua",
)
_MAX_PROJECT_DEPTH: Final = 4
_MAX_HOPS: Final = 40
_MAX_ENTRIES: Final = 4096
_SHEBANG_BYTES: Final = 256
_BETWEEN_WORDS: Final = re.compile(r"[\s'\"`;|&()<>{}]+")


class ReachBuilder:
    """Finds what processes may reach. `home` is the operator's, whose files stay out; what the system has is looked up
    once.
    """

    def __init__(self, home: str) -> None:
        # Both: a service often has no HOME, or another one.
        homes = (home, pwd.getpwuid(os.getuid()).pw_dir if _has_account() else "")
        self._homes = {os.path.realpath(path) for path in homes if os.path.isabs(path) and path != "/"}
        self._written: tuple[str, ...] = ()
        self._links: dict[str, str] = {}
        self._left_out: frozenset[str] = frozenset()
        self._listed: list[str] = []
        self._system = tuple(filter(None, map(self._resolve, _system_paths())))
        self._system_links = dict(self._links)

    def build(
        self,
        *,
        program: str,
        args: Iterable[str],
        environment: Mapping[str, str],
        named: Iterable[str],
        directory: str,
        default_directory: str,
        owns_directory: bool,
        left_out: Iterable[str],
        read: Iterable[str],
        write: Iterable[str],
        may_install: bool,
    ) -> Reach:
        """The reach of one process.

        `program` is absolute; `named` are values of the entry's `env`; `read` and `write` are the entry's `paths`.
        `directory` is where its names count from. It opens nothing by itself unless it is the `default_directory`, or
        in it: that one is opened, whole where the package owns it.
        `left_out` stays out wherever it lies, unless `paths` names it: the file that describes the servers, the folder
        of private homes; without symbolic links. `may_install`: caches of package managers may be written.
        """
        self._links = dict(self._system_links)
        self._listed = []
        self._left_out = frozenset(left_out)
        self._written = tuple(os.path.realpath(path) for path in write)
        untrusted = tuple(map(os.path.realpath, cache_folders(environment)))
        search_path = environment.get("PATH", "")
        runtime = [path for path in search_path.split(os.pathsep) if self._may_be_whole(path)]
        runtime += [environment[name] for name in (*_TOOL_FOLDERS, *_NAMED_FILES) if environment.get(name)]
        for path in [program, *runtime]:
            runtime += find_runtime(path, search_path=search_path, untrusted=untrusted)
        folders = [opened for path in dict.fromkeys(runtime) for opened in self._open(path)]
        caches = [path for path in cache_folders(environment) if [*self._open(path)] == [path]]
        if owns_directory:
            folders.append(default_directory)
        elif self._may_be_whole(default_directory) and is_inside(directory, default_directory):
            folders += self._visible_entries(default_directory)
        for text in (*args, *named):
            # The words inside an argument too: `sh -c "exec node /srv/server.js"`.
            for word in dict.fromkeys((text, *_BETWEEN_WORDS.split(text))):
                folders += self._find_named(word, directory, search_path)
        written = [*write, *(caches if may_install else ())]
        folders += [*read, *(() if may_install else caches)]
        resolve = self._resolve
        return Reach(
            read=tuple(dict.fromkeys((*self._system, *filter(None, map(resolve, folders))))),
            listed=tuple(filter(None, map(resolve, dict.fromkeys(self._listed)))),
            write=tuple(dict.fromkeys(filter(None, map(resolve, written)))),
            links=tuple(self._links.items()),
        )

    def _may_be_whole(self, path: str) -> bool:
        """Whether a folder can be opened with all that is in it: not the operator's home, nor what holds homes."""
        if not os.path.isabs(path) or not os.path.isdir(path):
            return False
        real = os.path.realpath(path)
        holds_home = any(_is_within(home, real) for home in self._homes) or os.path.dirname(real) == "/home"
        is_shared = real in ("/", "/tmp", "/var/tmp", "/dev/shm", "/run", "/var", "/etc", "/root", "/home")
        return not (holds_home or is_shared or real in self._left_out)

    def _open(self, path: str) -> Iterator[str]:
        """A file, or a folder with all that is in it; of a folder that holds what stays out, what can be seen in it."""
        if not os.path.isdir(path):
            if os.path.realpath(path) not in self._left_out:
                yield path
        elif self._may_be_whole(path):
            real = os.path.realpath(path)
            if any(_is_within(left_out, real) for left_out in self._left_out):
                yield from self._visible_entries(path)
            else:
                yield path

    def _visible_entries(self, folder: str) -> Iterator[str]:
        """What is in a folder and not hidden (`.env`, `.git` and `.fmcp-packages` are), but for what stays out."""
        real = os.path.realpath(folder)
        # Python finds modules by the names in a folder.
        self._listed.append(folder)
        names = [name for name in _list_names(folder) if not name.startswith(".")]
        for name in names[:_MAX_ENTRIES]:
            path = os.path.join(folder, name)
            # A link to where it came from would lead in a circle.
            if not _is_within(real, os.path.realpath(path)):
                yield from self._open(path)

    def _find_named(self, text: str, directory: str, search_path: str) -> Iterator[str]:
        """What an argument or a value names: a file, with its project where it is code; a folder that is a project."""
        name = text.partition("=")[2] if text.startswith("-") and "=" in text else text
        if not name or name.startswith("-") or len(name) > os.pathconf("/", "PC_PATH_MAX"):
            return
        for part in filter(None, name.split(os.pathsep)):
            path = os.path.normpath(os.path.join(directory, part))
            if os.path.isfile(path):
                runtime = find_runtime(path, search_path=search_path) if os.access(path, os.X_OK) else ()
                for needed in (path, *runtime):
                    yield from self._open(needed)
                if path.endswith(_CODE_ENDINGS):
                    yield from self._find_project(os.path.dirname(path))
            elif os.path.isdir(path) and _is_project(path) and self._may_be_whole(path):
                yield from self._visible_entries(path)
                yield from filter(os.path.isdir, (os.path.join(path, ".venv"),))

    def _find_project(self, folder: str) -> Iterator[str]:
        """The project that holds a folder of code, or what can be seen in that folder."""
        above = folder
        for _ in range(_MAX_PROJECT_DEPTH):
            if not self._may_be_whole(above):
                break
            if _is_project(above):
                yield from self._visible_entries(above)
                return
            above = os.path.dirname(above)
        if self._may_be_whole(folder):
            yield from self._visible_entries(folder)

    def _resolve(self, path: str) -> str | None:
        """The path without symbolic links; those on the way are noted. None: there is nothing.

        None also where a link on the way stands in a folder that processes write to: one of them may have put it there
        for the next one to follow.
        """
        links: dict[str, str] = {}
        found = resolve_links(path, links)
        if any(_is_within(link, written) and link != written for link in links for written in self._written):
            return None
        self._links.update(links)
        return found


def _has_account() -> bool:
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        return False
    return True


def find_too_wide(paths: Iterable[str], *kept_out: str) -> str | None:
    """The first of `paths` that would open one of the folders `kept_out` whole; None: there is none."""
    real = [os.path.realpath(folder) for folder in kept_out if folder]
    return next((path for path in paths if any(_is_within(folder, os.path.realpath(path)) for folder in real)), None)


def cache_folders(environment: Mapping[str, str]) -> list[str]:
    return [value for name, value in environment.items() if value and name.lower() in CACHE_FOLDERS]


def _system_paths() -> Iterator[str]:
    yield from SYSTEM_FOLDERS
    yield from _SYSTEM_FILES
    for name in _list_names("/usr"):
        if name not in _USR_LEFT_OUT:
            yield f"/usr/{name}"
    yield from (f"/usr/local/{name}" for name in _LOCAL_FOLDERS)


def _list_names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def is_inside(path: str, folder: str) -> bool:
    """Whether a path leads into a folder, or to it, behind all symbolic links."""
    return _is_within(os.path.realpath(path), os.path.realpath(folder))


def _is_within(path: str, folder: str) -> bool:
    return (path + "/").startswith(folder.rstrip("/") + "/")


def _is_project(folder: str) -> bool:
    return any(os.path.exists(os.path.join(folder, mark)) for mark in _PROJECT_MARKS)


def resolve_links(path: str, links: dict[str, str]) -> str | None:
    """`path` without symbolic links, each of which is added to `links` with where it leads; None: it is not there."""
    waiting = [part for part in path.split("/") if part]
    waiting.reverse()
    current = ""
    hops = 0
    while waiting:
        part = waiting.pop()
        if part == ".":
            continue
        if part == "..":
            current = os.path.dirname(current).rstrip("/")
            continue
        reached = f"{current}/{part}"
        try:
            target = os.readlink(reached)
        except OSError:
            current = reached
            continue
        hops += 1
        if hops > _MAX_HOPS:
            return None
        links[reached] = target
        if target.startswith("/"):
            current = ""
        waiting.extend(reversed([part for part in target.split("/") if part]))
    return current if current and os.path.exists(current) else None


def find_runtime(path: str, *, search_path: str, untrusted: tuple[str, ...] = ()) -> list[str]:
    """What a program needs beside itself, found by following its links and the first line of a script.

    Installations of Python and Node are recognized by what is in them; virtual environments name the one that they
    were made from, and folders that they import from (`*.pth`). What is installed below `untrusted` folders names
    nothing outside of itself: its author wrote those files.
    """
    found: list[str] = []
    waiting = [path]
    seen: set[str] = set()
    while waiting and len(seen) < _MAX_HOPS:
        current = waiting.pop()
        if current in seen or not os.path.isabs(current):
            continue
        seen.add(current)
        if os.path.isdir(current):
            # A folder of PATH: the installation that it belongs to.
            waiting += _installation_of(current, found, untrusted)
            continue
        found.append(current)
        found += _modules_around(current)
        waiting += _installation_of(os.path.dirname(current), found, untrusted)
        if os.path.islink(current):
            # As the kernel does: from the folder that it is really in.
            folder = os.path.realpath(os.path.dirname(current))
            waiting.append(os.path.normpath(os.path.join(folder, os.readlink(current))))
        else:
            waiting += _interpreters_of(current, search_path)
    return found


def _installation_of(folder: str, found: list[str], untrusted: tuple[str, ...]) -> list[str]:
    """Add the installation whose `bin` the folder is to `found`; what to look at next."""
    prefix = os.path.dirname(folder)
    if os.path.basename(folder) not in ("bin", "Scripts") or prefix in ("/", "/usr", "/usr/local"):
        return []
    configuration = os.path.join(prefix, "pyvenv.cfg")
    if os.path.isfile(configuration):
        found.append(prefix)
        if not any(_is_within(os.path.realpath(prefix), place) for place in untrusted):
            found += _imported_folders(prefix)
        return _base_of(configuration)
    is_python = any(name.startswith("python3") for name in _list_names(os.path.join(prefix, "lib")))
    is_node = os.path.isfile(os.path.join(folder, "node"))
    if (is_python or is_node) and not _is_below_home_local(prefix):
        found.append(prefix)
    return []


def _modules_around(program: str) -> Iterator[str]:
    """The outermost `node_modules` that a program of an npm package stands in: it imports from all of it."""
    before, mark, _ = program.partition("/node_modules/")
    if mark:
        yield f"{before}/node_modules"


def _is_below_home_local(prefix: str) -> bool:
    """`~/.local` holds much beside programs, keyrings for one."""
    return os.path.basename(prefix) == ".local"


def _base_of(configuration: str) -> list[str]:
    """The programs of the Python that a virtual environment was made from (`home` of pyvenv.cfg, PEP 405)."""
    try:
        with open(configuration, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    values = {name.strip(): value.strip() for name, _, value in (line.partition("=") for line in lines)}
    home = values.get("home", "")
    return [home, os.path.realpath(home)] if home else []


def _imported_folders(prefix: str) -> Iterator[str]:
    library = os.path.join(prefix, "lib")
    for version in _list_names(library):
        packages = os.path.join(library, version, "site-packages")
        for name in _list_names(packages):
            if name.endswith(".pth"):
                yield from _paths_in(os.path.join(packages, name))


def _paths_in(file_name: str) -> Iterator[str]:
    try:
        with open(file_name, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError):
        return
    paths = (line.strip() for line in lines)
    yield from (path for path in paths if os.path.isabs(path) and os.path.isdir(path) and "/." not in path)


def _interpreters_of(script: str, search_path: str) -> Iterator[str]:
    """What the first line of a script names: the interpreter, or the program that `env` looks for."""
    try:
        with open(script, "rb") as file:
            first = file.read(_SHEBANG_BYTES).partition(b"\n")[0]
    except OSError:
        return
    if not first.startswith(b"#!"):
        return
    words = os.fsdecode(first[2:]).split()
    if not words:
        return
    if "\0" in words[0] or not os.access(words[0], os.X_OK):
        return
    yield words[0]
    if os.path.basename(words[0]) == "env":
        for word in words[1:]:
            if word == "-S" or "=" in word:
                continue
            if word.startswith("-") or "/" in word:
                return
            for folder in search_path.split(os.pathsep):
                path = os.path.join(folder, word)
                if os.path.isfile(path):
                    yield path
                    return
