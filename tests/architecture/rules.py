"""The rules of the code base, as pure functions: the text of a file in, the breaches out (line and reason)."""

import ast
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

# A room imports itself and the rooms before it; `fluidmcp` is the package's own __init__.
ROOMS = (
    "fluidmcp",
    "errors",
    "undo",
    "delays",
    "file_locks",
    "late_imports",
    "observability",
    "protocol",
    "config",
    "packages",
    "crypto",
    "store",
    "oauth_client",
    "authentication",
    "authorization_server",
    "operator",
    "guards",
    "processes",
    "bridge",
    "pages",
    "gateway",
    "demo",
    "cli",
    "fluidai_mcp",
)
MAX_ROOM_SHARE = 0.25
"""Of all lines of the source."""
MAX_FOLDER_MODULES = 15

READS_ENVIRONMENT = ("src/fluidmcp/config/settings.py",)
PRINTS = ("src/fluidmcp/cli/output.py",)
CATCHES_EVERYTHING = (
    "src/fluidmcp/gateway/errors.py",
    "src/fluidmcp/cli/main.py",
    "src/fluidmcp/processes/pool/pool.py",
)
"""The table of answers, the end of the program, and the loop that supervises children."""

IMPORTS_LATE = (
    "src/fluidmcp/late_imports.py",
    "src/fluidmcp/cli/main.py",
    "src/fluidmcp/processes/starter_child/__main__.py",
)
"""The place for that, the commands themselves, and a program that has to find its own package first."""

NAMES_LATE_IMPORTS = (
    "src/fluidmcp/oauth_client/deferred.py",
    "src/fluidmcp/authentication/deferred.py",
    "src/fluidmcp/gateway/deferred.py",
    "src/fluidmcp/cli/deferred.py",
    "src/fluidmcp/packages/deferred.py",
    "src/fluidmcp/store/deferred.py",
)
"""The one module of a room for what it imports late. Three beside that of the commands: the HTTP client, the check of
signatures and FastAPI are most of the time and memory that a start took, and many gateways never need them.
"""

HELPERS = ("src/fluidmcp/processes/starter_child/", "src/fluidmcp/processes/watchdog_child.py")
"""Programs that run by their path with `-I -S` and fork: each holds nothing but the standard library and itself."""

PLAYS_A_SLOW_PART = ("tests/servers/", "tests/providers/")
"""Programs that tests talk to: being late is what some of them are for."""

MAX_MODULE_LINES = 500
MAX_FUNCTION_LINES = 60
MAX_PAUSE_SECONDS = 0.05

FOREIGN_WORDS = (
    "pypi" + ".org",
    "python" + "hosted",
    "npm" + "js.",
    "yarn" + "pkg.com",
)
"""Addresses of package registries."""

MUTABLE_CALLS = frozenset(
    "list dict set bytearray defaultdict deque Counter OrderedDict WeakKeyDictionary WeakValueDictionary WeakSet "
    "Queue Lock Event Semaphore Condition TTLCache".split()
)
MUTATORS = frozenset(
    "append appendleft extend insert add update setdefault pop popitem popleft remove discard clear sort".split()
)


@dataclass(frozen=True, slots=True)
class Breach:
    line: int
    reason: str


Rule = Callable[[str, ast.Module], Iterator[Breach]]
"""Path below the root of the repository, and the parsed file."""


def imports_go_one_way(path: str, tree: ast.Module) -> Iterator[Breach]:
    room = _room(_module_of(path))
    for line, module in _imported_modules(path, tree):
        other = _room(module)
        if other in ROOMS and room in ROOMS and ROOMS.index(other) > ROOMS.index(room):
            yield Breach(line, f"{room} imports {other}, which comes after it")


def every_room_is_known(path: str, tree: ast.Module) -> Iterator[Breach]:
    room = _room(_module_of(path))
    if room not in ROOMS:
        yield Breach(1, f"{room} is not a room of the design")


def environment_is_read_in_one_place(path: str, tree: ast.Module) -> Iterator[Breach]:
    if path in READS_ENVIRONMENT:
        return
    names = ("environ", "environb", "getenv", "getenvb", "putenv", "unsetenv")
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in names and _is_name(node.value, "os"):
            yield Breach(node.lineno, f"os.{node.attr} outside of config/settings.py")
        if isinstance(node, ast.ImportFrom) and node.module == "os" and any(a.name in names for a in node.names):
            yield Breach(node.lineno, "the environment is imported outside of config/settings.py")


def output_goes_through_one_place(path: str, tree: ast.Module) -> Iterator[Breach]:
    if path in PRINTS:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _is_name(node.func, "print"):
            yield Breach(node.lineno, "print outside of cli/output.py")


def failures_are_caught_by_name(path: str, tree: ast.Module) -> Iterator[Breach]:
    if path in CATCHES_EVERYTHING:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and _catches_everything(node.type) and not _raises_again(node):
            yield Breach(node.lineno, "catches everything and does not raise it again")
        if isinstance(node, ast.Call) and _callee(node) == "suppress" and any(map(_catches_everything, node.args)):
            yield Breach(node.lineno, "suppresses everything")


def helpers_stand_alone(path: str, tree: ast.Module) -> Iterator[Breach]:
    """What a helper imports is there without packages, is loaded quickly, and keeps its forks small."""
    own = next((_module_of(helper.rstrip("/")) for helper in HELPERS if path.startswith(helper)), None)
    if own is None:
        return
    for line, module in _imported_modules(path, tree):
        is_own = f"{module}.".startswith(f"{own}.")
        if not is_own and module.partition(".")[0] not in sys.stdlib_module_names:
            yield Breach(line, f"{module} is neither of the standard library nor of the helper")


def imports_stand_at_the_top(path: str, tree: ast.Module) -> Iterator[Breach]:
    """What must not be loaded at once goes through the one module of its room for that."""
    if path in IMPORTS_LATE:
        return
    for node, ancestors in _with_ancestors(tree, ()):
        if isinstance(node, ast.Call) and _callee(node) == "import_late" and path not in NAMES_LATE_IMPORTS:
            yield Breach(node.lineno, "late imports outside of the modules for them")
        if not any(isinstance(above, ast.FunctionDef | ast.AsyncFunctionDef) for above in ancestors):
            continue
        is_late_call = isinstance(node, ast.Call) and _callee(node) == "import_module"
        if is_late_call or isinstance(node, ast.Import | ast.ImportFrom):
            yield Breach(getattr(node, "lineno", 1), "an import inside of a function; use deferred.py of the room")


def sizes_are_bounded(path: str, tree: ast.Module) -> Iterator[Breach]:
    last = max((node.end_lineno or 0 for node in tree.body), default=0)
    if last > MAX_MODULE_LINES:
        yield Breach(last, f"a module of {last} lines; {MAX_MODULE_LINES} are allowed")
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > MAX_FUNCTION_LINES:
                yield Breach(node.lineno, f"{node.name} has {lines} lines; {MAX_FUNCTION_LINES} are allowed")


def modules_hold_no_state(path: str, tree: ast.Module) -> Iterator[Breach]:
    """Two gateways in one process share nothing: a module's containers are filled constants that nobody changes."""
    constants: set[str] = set()
    for node in tree.body:
        for name, value in _bindings(node):
            if _is_new_container(value):
                yield Breach(node.lineno, f"{name} is a container that starts empty: state of the module")
            elif isinstance(value, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp):
                constants.add(name)
                if name != name.upper() and name != "__all__":
                    yield Breach(node.lineno, f"{name} is a container and not named as a constant")
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            yield Breach(node.lineno, f"global {', '.join(node.names)}")
        changed = _changed_name(node)
        if changed in constants:
            yield Breach(getattr(node, "lineno", 1), f"{changed} is a constant and is changed")


def tests_wait_for_events(path: str, tree: ast.Module) -> Iterator[Breach]:
    """A pause proves nothing. Allowed: giving way once (0), and a short pause between two looks at something that has
    no event (is the process gone?), in a `while` below a timeout; generators play a server that drips.
    """
    if path.startswith(PLAYS_A_SLOW_PART):
        return
    for node, ancestors in _with_ancestors(tree, ()):
        if isinstance(node, ast.Call) and _callee(node) == "sleep" and not _may_pause(node, ancestors):
            yield Breach(node.lineno, "a test sleeps; wait for the event, with a limit")


def tests_use_real_parts(path: str, tree: ast.Module) -> Iterator[Breach]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and any(alias.name.startswith("unittest") for alias in node.names):
            yield Breach(node.lineno, "unittest is imported")
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("unittest"):
            yield Breach(node.lineno, "unittest is imported")


def tests_are_functions(path: str, tree: ast.Module) -> Iterator[Breach]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
            yield Breach(node.lineno, f"{node.name}: tests are plain functions")


SOURCE_RULES: Sequence[Rule] = (
    imports_go_one_way,
    every_room_is_known,
    environment_is_read_in_one_place,
    output_goes_through_one_place,
    failures_are_caught_by_name,
    helpers_stand_alone,
    imports_stand_at_the_top,
    sizes_are_bounded,
    modules_hold_no_state,
)
BENCHMARK_RULES: Sequence[Rule] = (
    failures_are_caught_by_name,
    imports_stand_at_the_top,
    modules_hold_no_state,
    sizes_are_bounded,
)
TEST_RULES: Sequence[Rule] = (sizes_are_bounded, tests_wait_for_events, tests_use_real_parts, tests_are_functions)


def find_breaches(rule: Rule, path: str, text: str) -> list[Breach]:
    return list(rule(path, ast.parse(text)))


def find_crowded_rooms(line_counts: Mapping[str, int]) -> list[str]:
    """Rooms with more than their share of the lines, and folders with too many modules. Paths below `src/fluidmcp`."""
    rooms: Counter[str] = Counter()
    folders: Counter[str] = Counter()
    for path, lines in line_counts.items():
        folder, _, name = path.rpartition("/")
        rooms[path.partition("/")[0]] += lines
        folders[folder] += name != "__init__.py"
    total = sum(rooms.values())
    too_large = [
        f"{room} has {lines} of {total} lines" for room, lines in rooms.items() if lines > total * MAX_ROOM_SHARE
    ]
    too_full = [f"{folder} has {count} modules" for folder, count in folders.items() if count > MAX_FOLDER_MODULES]
    return sorted(too_large + too_full)


def find_foreign_words(text: str) -> list[Breach]:
    """Lines that name a package registry."""
    return [
        Breach(number, f"names {word}")
        for number, line in enumerate(text.splitlines(), start=1)
        for word in FOREIGN_WORDS
        if word in line
    ]


def _with_ancestors(node: ast.AST, above: tuple[ast.AST, ...]) -> Iterator[tuple[ast.AST, tuple[ast.AST, ...]]]:
    yield node, above
    for child in ast.iter_child_nodes(node):
        yield from _with_ancestors(child, (*above, node))


def _may_pause(call: ast.Call, ancestors: tuple[ast.AST, ...]) -> bool:
    seconds = call.args[0].value if call.args and isinstance(call.args[0], ast.Constant) else None
    if not isinstance(seconds, int | float) or seconds > MAX_PAUSE_SECONDS:
        return False
    function = next((a for a in reversed(ancestors) if isinstance(a, ast.FunctionDef | ast.AsyncFunctionDef)), None)
    drips = function is not None and any(isinstance(node, ast.Yield) for node in ast.walk(function))
    limits = [a for a in ancestors if isinstance(a, ast.AsyncWith) and any(map(_is_timeout, a.items))]
    looks = any(isinstance(a, ast.While) for a in ancestors)
    return seconds == 0 or drips or bool(limits and looks)


def _is_timeout(item: ast.withitem) -> bool:
    return isinstance(item.context_expr, ast.Call) and _callee(item.context_expr) == "timeout"


def _module_of(path: str) -> str:
    return path.removeprefix("src/").removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _room(module: str) -> str:
    """`crypto` for fluidmcp.crypto.sealing."""
    first, _, rest = module.partition(".")
    if first != "fluidmcp":
        return first
    return rest.partition(".")[0] or "fluidmcp"


def _imported_modules(path: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every module that the file imports, inside functions too; `from a import b` may be the module a.b."""
    package = _module_of(path).split(".")
    if not path.endswith("__init__.py"):
        package = package[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            # `from fluidmcp import __version__` reads a name of the package; `from fluidmcp import auth` a room.
            yield from ((node.lineno, module if a.name.startswith("__") else f"{module}.{a.name}") for a in node.names)


def _is_name(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _catches_everything(node: ast.expr | None) -> bool:
    if isinstance(node, ast.Tuple):
        return any(map(_catches_everything, node.elts))
    return node is None or _is_name(node, "Exception") or _is_name(node, "BaseException")


def _raises_again(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def _callee(node: ast.Call) -> str:
    function = node.func.value if isinstance(node.func, ast.Subscript) else node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _bindings(node: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(node, ast.Assign):
        yield from ((target.id, node.value) for target in node.targets if isinstance(target, ast.Name))
    elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
        yield node.target.id, node.value


def _is_new_container(node: ast.expr) -> bool:
    if isinstance(node, ast.List | ast.Set):
        return not node.elts
    if isinstance(node, ast.Dict):
        return not node.keys
    return isinstance(node, ast.Call) and _callee(node) in MUTABLE_CALLS


def _changed_name(node: ast.AST) -> str | None:
    """The name whose value the node changes: `X[1] = 2`, `del X[1]`, `X.append(1)`."""
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
        target: ast.expr = node.value
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MUTATORS:
        target = node.func.value
    else:
        return None
    return target.id if isinstance(target, ast.Name) else None
