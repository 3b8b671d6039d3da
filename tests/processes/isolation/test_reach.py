"""What processes of known persons may reach: found in real folders, with what must stay out lying right beside it."""

import os
from collections.abc import Callable
from typing import Any

import pytest

from fluidmcp.processes.isolation.reach import ReachBuilder, find_runtime, resolve_links
from fluidmcp.processes.starter_child.order import Reach
from tests.processes.reaching import Ground, is_below, may_read

# The program and what it runs with


def test_a_virtual_environment_brings_its_python_and_the_folders_that_it_imports_from(ground: Ground):
    python = ground.write("python/bin/python3.11")
    ground.write("python/lib/python3.11/os.py")
    ground.write("venv/pyvenv.cfg", f"home = {python.parent}\nversion = 3.11\n")
    ground.link("venv/bin/python", python)
    script = ground.write("venv/bin/mail", f"#!{ground.folder}/venv/bin/python\n")
    ground.write("editable/mail/__init__.py")
    path_file = f"{ground.folder}/editable\nimport something\nrelative\n{ground.folder}/not-there\n"
    ground.write("venv/lib/python3.11/site-packages/mail.pth", path_file)
    ground.write("beside/secret")
    reach = ground.build(program=str(script))
    for path in ("venv/lib/python3.11/site-packages/x.py", "python/lib/python3.11/os.py", "editable/mail/__init__.py"):
        assert may_read(reach, ground.folder / path), path
    assert may_read(reach, python)
    assert not may_read(reach, ground.folder / "beside" / "secret")
    assert not reach.keeps_files


def test_an_environment_of_an_environment_is_followed_to_its_python(ground: Ground):
    ground.write("python/bin/python3.11")
    ground.write("python/lib/python3.11/os.py")
    ground.link("current", "python")
    ground.write("venv/pyvenv.cfg", f"home={ground.folder}/current/bin\n")
    reach = ground.build(program=str(ground.write("venv/bin/python")))
    assert may_read(reach, ground.folder / "python" / "lib" / "python3.11" / "os.py")


@pytest.mark.parametrize("text", [b"", b"home", b"home =", b"home = relative/bin", b"home = /\xff\xfe", b"\0"])
def test_a_broken_environment_is_read_as_far_as_it_goes(ground: Ground, text: bytes):
    ground.write("venv/pyvenv.cfg").write_bytes(text)
    ground.write("venv/lib/python3.11/site-packages/bad.pth").write_bytes(b"/\xff\n")
    reach = ground.build(program=str(ground.write("venv/bin/python")))
    assert may_read(reach, ground.folder / "venv" / "lib")


def test_a_node_installation_is_whole(ground: Ground):
    node = ground.write("node/bin/node")
    ground.write("node/lib/node_modules/npm/index.js")
    reach = ground.build(program=str(node))
    assert may_read(reach, ground.folder / "node" / "lib" / "node_modules" / "npm" / "index.js")


def test_the_interpreter_of_a_script_is_found(ground: Ground):
    interpreter = ground.write("runtimes/lua")
    interpreter.chmod(0o755)
    script = ground.write("scripts/server", f"#! {interpreter} -W\nprint(1)\n")
    assert may_read(ground.build(program=str(script)), interpreter)


@pytest.mark.parametrize("line", ["#!/usr/bin/env {}", "#!/usr/bin/env -S {} -u", "#! /usr/bin/env A=1 {}"])
def test_the_interpreter_that_env_looks_for_is_found_through_path(ground: Ground, line: str):
    ground.write("empty/other")
    program = ground.write("versions/3/ruby")
    ground.link("shims/ruby", "../versions/3/ruby")
    ground.write("later/ruby")
    script = ground.write("scripts/server", line.format("ruby") + "\n")
    path = os.pathsep.join(str(ground.folder / name) for name in ("empty", "shims", "later"))
    found = find_runtime(str(script), search_path=path)
    assert str(program) in found
    assert str(ground.folder / "later" / "ruby") not in found


@pytest.mark.parametrize("text", ["", "#!", "#!  \n", "#!relative/python\n", "#!/usr/bin/env\n", "\x7fELF", "#!\0\n"])
def test_a_first_line_that_names_nothing_does_no_harm(ground: Ground, text: str):
    script = ground.write("scripts/server", text)
    assert str(script) in find_runtime(str(script), search_path="/nowhere:relative:")


def test_links_are_followed_one_by_one_as_the_kernel_does(ground: Ground):
    program = ground.write("store/v2/node_modules/server/cli.js")
    ground.link("store/v2/bin/server", "../node_modules/server/cli.js")
    ground.link("store/current", "v2")
    ground.link("opt/bin", ground.folder / "store" / "current" / "bin")
    started = ground.link("links/server", "../opt/bin/server")
    reach = ground.build(program=str(started))
    assert may_read(reach, program)
    assert may_read(reach, ground.folder / "store" / "v2" / "node_modules" / "dependency")
    links = dict(reach.links)
    assert links[str(started)] == "../opt/bin/server"
    assert links[str(ground.folder / "store" / "v2" / "bin" / "server")] == "../node_modules/server/cli.js"
    assert os.path.realpath(started) in reach.read


def test_links_in_a_circle_end(ground: Ground):
    first = ground.link("loop/a", "b")
    ground.link("loop/b", "a")
    assert find_runtime(str(first), search_path="")
    reach = ground.build(program=str(first), args=(str(first),), read=(str(first),))
    assert not is_below(first, reach.read)


def test_the_modules_around_a_program_are_reached_and_not_their_project(ground: Ground):
    ground.write("app/secret")
    ground.write("app/node_modules/dependency/index.js")
    program = ground.write("app/node_modules/outer/node_modules/inner/cli.js", "#!/usr/bin/env node\n")
    started = ground.link("app/node_modules/.bin/inner", "../outer/node_modules/inner/cli.js")
    reach = ground.build(program=str(started))
    assert may_read(reach, program)
    assert may_read(reach, ground.folder / "app" / "node_modules" / "dependency" / "index.js")
    assert not may_read(reach, ground.folder / "app" / "secret")


# What stays out


HIDDEN = (".env", ".git/config", ".fmcp-packages/ann/mail/1.0.0/metadata.json")


def write_project(ground: Ground, place: str = "work") -> None:
    for name in (*HIDDEN, "package.json", "servers.json", "src/lib/deep/server.py", "data/table.csv"):
        ground.write(f"{place}/{name}")


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("src/lib/deep/server.py",),
        (".",),
        ("--root=.",),
        ("src",),
        ("servers.json",),
        (":", "--x=:", "a:"),
        ("..",),
    ],
    ids=" ".join,
)
def test_of_the_working_directory_is_seen_what_is_not_hidden_and_not_the_file_of_the_servers(
    ground: Ground, args: tuple[str, ...]
):
    write_project(ground)
    left_out = str(ground.work / "servers.json")
    reach = ground.build(args=args, left_out=(left_out,))
    assert may_read(reach, ground.work / "src" / "lib" / "deep" / "server.py")
    assert may_read(reach, ground.work / "data" / "table.csv")
    for name in (*HIDDEN, "servers.json"):
        assert not may_read(reach, ground.work / name), name
    assert str(ground.work) in reach.listed
    assert str(ground.work) not in reach.read


def test_the_file_of_the_servers_stays_out_wherever_it_lies_and_by_whatever_link(ground: Ground):
    write_project(ground)
    left_out = ground.write("work/conf/deep/own/servers.json")
    ground.write("work/conf/deep/other.txt")
    ground.link("work/link", "conf/deep/own/servers.json")
    ground.link("work/folder", "conf/deep")
    ground.link("work/conf/round", "..")
    ground.link("work/conf/around", "..")
    reach = ground.build(
        left_out=(str(left_out),),
        args=("link", "conf", "folder", "--config=conf/deep/own/servers.json", str(left_out)),
        environment={"PATH": f"{ground.work}:{ground.work}/conf", "NVM_DIR": str(ground.work / "conf")},
    )
    assert not may_read(reach, left_out)
    assert may_read(reach, ground.work / "conf" / "deep" / "other.txt")


def test_whoever_names_it_in_paths_means_it(ground: Ground):
    left_out = ground.write("work/servers.json")
    assert may_read(ground.build(left_out=(str(left_out),), read=(str(left_out),)), left_out)


@pytest.mark.parametrize("place", ["work", "work/tmp", "work/src/tmp"])
def test_the_private_homes_of_others_stay_out_wherever_they_lie(ground: Ground, place: str):
    write_project(ground)
    token = ground.write(f"{place}/fluidmcp-1234/token.txt")
    reach = ground.build(left_out=(str(ground.folder / place),), args=(".", "src", "src/lib/deep/server.py"))
    assert not may_read(reach, token)
    assert place == "work" or may_read(reach, ground.work / "data" / "table.csv")


def test_a_program_that_stands_in_the_working_directory_does_not_open_it(ground: Ground):
    write_project(ground)
    program = ground.write("work/server", "#!/bin/sh\n")
    reach = ground.build(program=str(program), left_out=(str(ground.work / "servers.json"),))
    assert may_read(reach, program)
    assert not may_read(reach, ground.work / ".env")


def test_an_environment_in_the_working_directory_does_not_open_the_file_of_the_servers(ground: Ground):
    left_out = ground.write("work/servers.json")
    ground.write("work/pyvenv.cfg", "home = /usr/bin\n")
    ground.write("work/lib/python3.11/site-packages/mail.py")
    reach = ground.build(program=str(ground.write("work/bin/mail")), left_out=(str(left_out),))
    assert may_read(reach, ground.work / "lib" / "python3.11" / "site-packages" / "mail.py")
    assert not may_read(reach, left_out)


WAYS_TO_ASK: dict[str, Callable[[str], dict[str, Any]]] = {
    "PATH": lambda path: {"environment": {"PATH": f"/usr/bin:{path}"}},
    "directory": lambda path: {"directory": path},
    "args": lambda path: {"args": (path, f"--root={path}")},
    "named": lambda path: {"named": (path, f"/usr/bin:{path}")},
    "code": lambda path: {"args": (f"{path}/server.py",)},
    "variables": lambda path: {"environment": {"NVM_DIR": path, "SSL_CERT_DIR": path, "npm_config_cache": path}},
    "cache": lambda path: {"environment": {"UV_CACHE_DIR": path}, "may_install": True},
}


@pytest.mark.parametrize("place", ["", "..", "link"], ids=["home", "above", "by-link"])
@pytest.mark.parametrize("way", WAYS_TO_ASK)
def test_the_home_of_the_operator_is_never_whole(ground: Ground, place: str, way: str):
    ground.write("homes/operator/package.json")
    ground.write("homes/operator/server.py")
    ground.write("homes/package.json")
    ground.write("homes/server.py")
    ground.link("link", ground.home)
    path = {"": ground.home, "..": ground.home.parent, "link": ground.folder / "link"}[place]
    reach = ground.build(**WAYS_TO_ASK[way](str(path)))
    assert not is_below(ground.home / ".ssh" / "id", (*reach.read, *reach.listed, *reach.write))
    assert not is_below(ground.home, (*reach.read, *reach.listed, *reach.write))


@pytest.mark.parametrize("name", ["bin/node", "bin/python", "bin/tool"])
@pytest.mark.parametrize("mark", ["pyvenv.cfg", "lib/python3.11/os.py"])
def test_a_runtime_in_the_home_does_not_open_the_home(ground: Ground, name: str, mark: str):
    program = ground.write(f"homes/operator/{name}")
    ground.write(f"homes/operator/{mark}")
    reach = ground.build(program=str(program), environment={"PATH": str(program.parent)})
    assert may_read(reach, program)
    assert not may_read(reach, ground.home / ".ssh" / "id")


def test_the_folder_local_of_the_home_is_not_whole(ground: Ground):
    program = ground.write("homes/operator/.local/bin/mail", "#!/usr/bin/env python3\n")
    ground.write("homes/operator/.local/lib/python3.11/site-packages/mail.py")
    keyring = ground.write("homes/operator/.local/share/keyrings/login.keyring")
    reach = ground.build(program=str(program), environment={"PATH": str(program.parent)})
    assert may_read(reach, program.parent / "other-program")
    assert not may_read(reach, keyring)


@pytest.mark.parametrize("path", ["/", "/tmp", "/var", "/etc", "/run", "/root", "/dev/shm"])
def test_what_holds_everything_of_everybody_is_never_whole(ground: Ground, path: str):
    link = ground.link("work/everything", path)
    reach = ground.build(
        environment={"PATH": f"{path}:{link}", "TZDIR": path, "pip_cache_dir": path, "NVM_DIR": str(link)},
        directory=path,
        args=(path, str(link)),
        named=(path,),
    )
    assert path not in (*reach.read, *reach.listed, *reach.write)
    assert os.path.realpath(path) not in (*reach.read, *reach.listed, *reach.write)
    assert not may_read(ground.build(), os.path.realpath(path))


def test_a_directory_that_an_entry_names_opens_nothing(ground: Ground):
    """E07: `cwd` of somebody's file is where the process runs, and no leave to read what is there."""
    write_project(ground)
    elsewhere = ground.write("elsewhere/notes/secret").parent
    reach = ground.build(directory=str(elsewhere), default_directory=str(ground.work))
    assert not may_read(reach, elsewhere / "secret")
    assert str(elsewhere) not in reach.listed
    # Nothing of the gateway's own folder either: the process is not there.
    assert not may_read(reach, ground.work / "data" / "table.csv")
    reach = ground.build(directory=str(elsewhere), default_directory=str(ground.work), read=(str(elsewhere),))
    assert may_read(reach, elsewhere / "secret")


@pytest.mark.parametrize("place", ["work/data", "work/../elsewhere/../work/src", "work/there"])
def test_one_below_the_usual_directory_is_reached_as_the_rest_of_it(ground: Ground, place: str):
    write_project(ground)
    ground.link("work/there", "src")
    directory = str(ground.folder / place)
    reach = ground.build(directory=directory, default_directory=str(ground.work))
    assert reach.read == ground.build(directory=str(ground.work)).read
    assert not may_read(reach, ground.work / ".env")


def test_a_link_below_the_usual_directory_is_not_below_it(ground: Ground):
    write_project(ground)
    ground.link("work/.there", "../elsewhere")
    secret = ground.write("elsewhere/secret")
    reach = ground.build(directory=str(ground.work / ".there"), default_directory=str(ground.work))
    assert not may_read(reach, secret)


def test_a_packages_own_folder_is_whole_wherever_its_process_runs(ground: Ground):
    package = ground.write("packages/ann/mail/1.0.0/.hidden/server.py").parents[1]
    secret = ground.write("elsewhere/secret")
    for directory in (package / ".hidden", secret.parent):
        reach = ground.build(directory=str(directory), default_directory=str(package), owns_directory=True)
        assert may_read(reach, package / ".hidden" / "server.py")
        assert not may_read(reach, secret)


def test_files_that_arguments_name_from_there_are_reached(ground: Ground):
    server = ground.write("elsewhere/app/server.py")
    ground.write("elsewhere/app/.env")
    ground.write("elsewhere/secret")
    directory = str(ground.folder / "elsewhere")
    reach = ground.build(args=("app/server.py",), directory=directory, default_directory=str(ground.work))
    assert may_read(reach, server)
    assert not may_read(reach, ground.folder / "elsewhere" / "app" / ".env")
    assert not may_read(reach, ground.folder / "elsewhere" / "secret")


def test_a_link_in_the_working_directory_does_not_open_the_home(ground: Ground):
    ground.link("work/home", ground.home)
    ground.link("work/above", ground.home.parent)
    ground.link("work/key", ground.home / ".ssh")
    reach = ground.build()
    assert not may_read(reach, ground.home)
    # A folder that the operator has put into the working directory by a link is meant.
    assert may_read(reach, ground.home / ".ssh")


def test_files_of_the_system_that_hold_secrets_are_not_reached(ground: Ground):
    reach = ground.build()
    for path in (
        "/etc/shadow",
        "/etc/ssh/ssh_host_ed25519_key",
        "/root/.ssh",
        "/usr/src",
        "/usr/local/etc",
        "/var/lib",
    ):
        assert not may_read(reach, path), path
    for path in ("/usr/bin/env", "/usr/share/zoneinfo", "/proc/self"):
        assert may_read(reach, path), path


# What entries name


def test_code_brings_its_project_and_another_file_only_itself(ground: Ground):
    write_project(ground, "project")
    ground.write("data/one.json")
    ground.write("data/two.json")
    script = ground.folder / "project" / "src" / "lib" / "deep" / "server.py"
    reach = ground.build(args=(str(script),), named=(str(ground.folder / "data" / "one.json"),))
    assert may_read(reach, ground.folder / "project" / "data" / "table.csv")
    assert not may_read(reach, ground.folder / "project" / ".env")
    assert may_read(reach, ground.folder / "data" / "one.json")
    assert not may_read(reach, ground.folder / "data" / "two.json")


def test_code_without_a_project_brings_what_lies_beside_it(ground: Ground):
    script = ground.write("scripts/server.py")
    helper = ground.write("scripts/helpers/a.py")
    hidden = ground.write("scripts/.env")
    reach = ground.build(args=(str(script),))
    assert may_read(reach, helper)
    assert not may_read(reach, hidden)
    assert not may_read(reach, ground.folder / "bin")


def test_a_project_far_above_the_code_is_not_found(ground: Ground):
    script = ground.write("a/b/c/d/e/server.py")
    ground.write("a/package.json")
    secret = ground.write("a/secret")
    assert not may_read(ground.build(args=(str(script),)), secret)


def test_a_named_folder_that_is_a_project_is_whole_and_another_one_stays_closed(ground: Ground):
    ground.write("project/pyproject.toml")
    environment = ground.write("project/.venv/bin/mail")
    plain = ground.write("plain/file.txt")
    reach = ground.build(args=("--directory", str(ground.folder / "project"), f"--root={plain.parent}"))
    assert may_read(reach, environment)
    assert not may_read(reach, plain)


def test_an_empty_part_of_a_list_is_not_the_working_directory(ground: Ground):
    write_project(ground)
    reach = ground.build(args=("--path=:/usr/bin",), named=(":/usr/bin:",))
    assert not may_read(reach, ground.work / ".env")


@pytest.mark.parametrize(
    "text", ["", "-", "--=", "\0", "a" * 5000, "a" * 300, "/" * 3000, "\udcff", "--x", "http://a/b"]
)
def test_any_text_may_be_an_argument(ground: Ground, text: str):
    assert ground.build(args=(text, f"--a={text}"), named=(text,)) == ground.build()


def test_the_folder_of_a_package_is_whole(ground: Ground):
    package = ground.write(".fmcp-packages/ann/mail/1.0.0/metadata.json")
    hidden = ground.write(".fmcp-packages/ann/mail/1.0.0/.venv/bin/python")
    other = ground.write(".fmcp-packages/ann/other/1.0.0/metadata.json")
    reach = ground.build(directory=str(package.parent), owns_directory=True, left_out=(str(package),))
    assert may_read(reach, hidden)
    assert not may_read(reach, other)


def test_paths_of_the_entry_are_opened_for_reading_and_for_writing(ground: Ground):
    given = ground.write("given/file.txt")
    output = ground.write("output/file.txt")
    ground.link("output-link", "output")
    reach = ground.build(read=(str(given), "/no/such"), write=(str(ground.folder / "output-link"),))
    assert str(given) in reach.read
    assert reach.write == (str(output.parent),)
    assert (str(ground.folder / "output-link"), "output") in reach.links
    assert not is_below(output, reach.read)
    assert not [path for path in (*reach.read, *reach.write) if path.startswith("/no")]


@pytest.mark.parametrize(
    "name", ["npm_config_cache", "NPM_CONFIG_CACHE", "UV_CACHE_DIR", "UV_TOOL_DIR", "pip_cache_dir"]
)
def test_caches_are_written_by_the_first_start_alone(ground: Ground, name: str):
    cache = ground.home / ".cache" / "tool"
    cache.mkdir(parents=True)
    environment = {"PATH": "/usr/bin", name: str(cache)}
    reach = ground.build(environment=environment)
    assert (is_below(cache, reach.read), reach.write) == (True, ())
    reach = ground.build(environment=environment, may_install=True)
    assert (is_below(cache, reach.read), reach.write) == (False, (str(cache),))
    for may_install in (False, True):
        assert not may_read(ground.build(environment=environment, may_install=may_install), cache.parent / "other")


def test_one_process_does_not_reach_what_the_one_before_did(ground: Ground):
    ground.link("work/link", ground.write("given/file.txt"))
    builder = ReachBuilder(str(ground.home))

    def build(directory: str, *read: str, left_out: str = "/nowhere") -> Reach:
        return builder.build(
            program="/usr/bin/env",
            args=(),
            environment={"PATH": str(ground.folder / "bin")},
            named=(),
            directory=directory,
            default_directory=directory,
            owns_directory=False,
            left_out=(left_out,),
            read=read,
            write=(),
            may_install=False,
        )

    before = build("/nowhere")
    assert build(str(ground.work), str(ground.folder), left_out=str(ground.folder / "bin")) != before
    assert build("/nowhere") == before


# Links


@pytest.mark.parametrize(
    ("path", "expected", "links"),
    [
        ("real/file", "real/file", {}),
        ("real/./sub/../file", "real/file", {}),
        ("absolute/file", "real/file", {"absolute": "{}/real"}),
        ("relative/file", "real/file", {"relative": "real/sub/.."}),
        # `..` leads out of the folder that the link leads to, and not out of the one that the link is in.
        ("deep/../file", "real/file", {"deep": "real/sub"}),
        ("chain/file", "real/file", {"chain": "relative", "relative": "real/sub/.."}),
        ("real/missing", None, {}),
        ("dangling/x", None, {"dangling": "nowhere"}),
        ("loop/x", None, {"loop": "loop"}),
        ("real/file/x", None, {}),
        ("../../../../../../../../../..", None, {}),
    ],
)
def test_links_are_resolved_and_noted(ground: Ground, path: str, expected: str | None, links: dict[str, str]):
    ground.write("real/file")
    ground.write("real/sub/other")
    ground.link("absolute", ground.folder / "real")
    ground.link("relative", "real/sub/..")
    ground.link("deep", "real/sub")
    ground.link("chain", "relative")
    ground.link("dangling", "nowhere")
    ground.link("loop", "loop")
    found: dict[str, str] = {}
    resolved = resolve_links(f"{ground.folder}/{path}", found)
    assert resolved == (None if expected is None else f"{ground.folder}/{expected}")
    noted = {f"{ground.folder}/{name}": target.format(ground.folder) for name, target in links.items()}
    assert found == noted
