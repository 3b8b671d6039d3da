"""What `fluidmcp tools` and `fluidmcp call` do."""

import asyncio
import logging
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

import msgspec

from fluidmcp.cli.account.session import has_browser, open_browser
from fluidmcp.cli.calls.answers import is_terminal, list_binaries, print_answer, print_json, save_binaries
from fluidmcp.cli.calls.arguments import describe_arguments, read_arguments
from fluidmcp.cli.calls.options import CallOptions
from fluidmcp.cli.calls.questions import ask_person
from fluidmcp.cli.gateway_url import find_gateway_url
from fluidmcp.cli.given_token import read_token_variable
from fluidmcp.cli.output import print_block, print_error, print_line, print_notice, print_table
from fluidmcp.cli.typed_lines import read_typed_lines
from fluidmcp.config.settings import read_environment
from fluidmcp.errors import (
    AuthError,
    FluidMCPError,
    GatewayAnswerError,
    GatewayUnreachableError,
    NotLoggedInError,
    UnknownPackageError,
    UserError,
)
from fluidmcp.oauth_client.fetch import Fetcher
from fluidmcp.observability.logs import configure_logging
from fluidmcp.operator.browser_flow import Person as LoginPerson
from fluidmcp.operator.calls.caller import PackageCaller, Person, TokenSource
from fluidmcp.operator.calls.gateway import Gateway, list_packages, reach
from fluidmcp.operator.calls.login import PackageLogin
from fluidmcp.operator.calls.token_files import name_token_file
from fluidmcp.operator.token_file import find_token_file
from fluidmcp.protocol.tool_headers import read_header_rules

EXIT_TOOL_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_GATEWAY: Final = 3
EXIT_LOGIN: Final = 4
MAX_STDIN_CHARACTERS: Final = 64 * 1024 * 1024
_SUMMARY_CHARACTERS: Final = 90
_NAME_CHARACTERS: Final = 200

Json = dict[str, object]


class GivenToken(TokenSource):
    """A token of the environment: used as it is."""

    def __init__(self, token: str, *, name: str) -> None:
        self._token = token
        self._name = name

    async def find(self) -> str | None:
        return self._token

    async def replace(self, refused: str | None, challenge: str) -> str:
        raise NotLoggedInError(f"The package does not accept the token in {self._name}.", hint="Give another one.")


def run_tools(package: str | None, options: CallOptions) -> int:
    """Print the tools; the exit code."""
    return _report(options, lambda: _show_tools(package, options))


def run_call(
    package: str,
    tool: str,
    values: Sequence[str],
    *,
    document: str | None,
    output: str | None,
    options: CallOptions,
) -> int:
    """Call a tool and print what it answers; the exit code."""
    if document == "-":
        document = sys.stdin.read(MAX_STDIN_CHARACTERS)
    return _report(options, lambda: _call(package, tool, values, document=document, output=output, options=options))


def _report(options: CallOptions, work: Callable[[], Awaitable[int]]) -> int:
    """Run it; a failure becomes an exit code, and with `--json` the one document on stdout."""
    configure_logging("error")
    logging.getLogger("fluidmcp.oauth_client.fetch").setLevel(logging.CRITICAL)

    async def run() -> int:
        return await work()

    try:
        return asyncio.run(run())
    except (GatewayUnreachableError, GatewayAnswerError) as error:
        code, failure = EXIT_GATEWAY, error
    except AuthError as error:
        code, failure = EXIT_LOGIN, error
    except UserError as error:
        code, failure = EXIT_USAGE, error
    _show_failure(failure, as_json=options.as_json)
    return code


def _show_failure(error: FluidMCPError, *, as_json: bool) -> None:
    if not as_json:
        print_error(error)
        return
    print_json({"error": _describe(error)})


def _describe(error: FluidMCPError) -> Json:
    said: Json = {"code": error.code, "message": error.what, "why": error.why, "hint": error.hint}
    if isinstance(error, GatewayAnswerError) and error.rpc_code is not None:
        said["rpc_code"] = error.rpc_code
    return said


async def _show_tools(package: str | None, options: CallOptions) -> int:
    async with reach(find_gateway_url(options.url)) as gateway:
        if package is not None:
            async with _open_package(gateway, package, options) as caller:
                tools = await caller.list_tools()
            if options.as_json:
                print_json({"tools": tools})
            else:
                _print_tools(tools)
            return 0
        token = _read_given(options)
        names = await list_packages(gateway, None if token is None else f"Bearer {token}")
        return await _show_all_tools(gateway, names, replace(options, names_package=False))


async def _show_all_tools(gateway: Gateway, names: Sequence[str], options: CallOptions) -> int:
    """The tools of each package; one that needs a login first, or fails, is named and passed over."""
    said: dict[str, Json] = {}
    code = 0
    for name in names:
        try:
            async with _open_package(gateway, name, options) as caller:
                tools = await caller.list_tools()
        except AuthError as error:
            said[name] = {"error": _describe(error)}
            rows = [("  needs a login", f"fluidmcp tools {name} logs in and shows them")]
        except GatewayAnswerError as error:
            said[name] = {"error": _describe(error)}
            rows = [("  failed", error.what[:_NAME_CHARACTERS])]
            code = EXIT_GATEWAY
        else:
            said[name] = {"tools": tools}
            rows = [(f"  {_show_name(tool)}", _summarise(tool)) for tool in tools]
        if not options.as_json:
            print_table((name, ""), rows)
    if options.as_json:
        print_json({"packages": said})
    return code


def _print_tools(tools: Sequence[Json]) -> None:
    for number, tool in enumerate(tools):
        if number:
            print_line()
        print_line(_show_name(tool))
        description = tool.get("description")
        if isinstance(description, str) and description.strip():
            print_block("\n".join(f"  {line}" for line in description.strip().splitlines()))
        for name, kind, is_required, about in describe_arguments(tool.get("inputSchema")):
            note = f"  {' '.join(about.split())}" if about else ""
            print_line(f"    {name}={kind}{'' if is_required else ' (optional)'}{note}")


def _show_name(tool: Json) -> str:
    return str(tool.get("name", ""))[:_NAME_CHARACTERS]


def _summarise(tool: Json) -> str:
    text = " ".join(str(tool.get("description") or tool.get("title") or "").split())
    return text if len(text) <= _SUMMARY_CHARACTERS else text[: _SUMMARY_CHARACTERS - 3] + "..."


async def _call(
    package: str, name: str, values: Sequence[str], *, document: str | None, output: str | None, options: CallOptions
) -> int:
    async with (
        reach(find_gateway_url(options.url)) as gateway,
        _open_package(gateway, package, options) as caller,
    ):
        tool = _find_tool(await caller.list_tools(), name, package)
        arguments = read_arguments(values, document, tool.get("inputSchema"), tool=name)
        result = await caller.call_tool(name, arguments, read_header_rules(msgspec.json.encode(tool)))
    if options.as_json:
        if output is not None:
            save_binaries(list_binaries(result), tool=name, output=output)
        print_json(result)
    else:
        print_answer(result, tool=name, output=output)
    return EXIT_TOOL_FAILED if result.get("isError") is True else 0


def _find_tool(tools: Sequence[Json], name: str, package: str) -> Json:
    found = next((tool for tool in tools if tool.get("name") == name), None)
    if found is None:
        names = ", ".join(map(_show_name, tools[:20]))
        raise UserError(f"{package} has no tool {name}.", hint=f"It has: {names}" if names else "It has none.")
    return found


@asynccontextmanager
async def _open_package(gateway: Gateway, package: str, options: CallOptions) -> AsyncGenerator[PackageCaller]:
    """A client of the package, with a way to its token and to the person."""
    environ = read_environment()
    token = _read_given(options)
    if await gateway.look(package) == "missing":
        raise UnknownPackageError(
            f"The gateway at {gateway.url} has no package {package}.", hint="fluidmcp tools shows those that it has."
        )
    fetcher = Fetcher(allow_private=True)
    try:
        # Only where an address may be pasted: what is typed as an answer to the tool is not for the login.
        pastes = _has_person() and _may_log_in(options) and not _opens_browser(options, environ)
        with read_typed_lines(sys.stdin if pastes else None) as lines:
            tokens: TokenSource
            if token is not None:
                tokens = GivenToken(token, name=options.token_env or "")
            else:
                url = gateway.endpoint(package)
                tokens = PackageLogin(
                    url,
                    file=find_token_file(environ, name=name_token_file(url)),
                    fetcher=fetcher,
                    person=_find_login_person(options, environ, lines),
                    why_nobody=_explain_nobody(options),
                )
            person = _find_person(package, options)
            yield PackageCaller(gateway, package, tokens=tokens, person=person, limit_seconds=options.timeout)
    finally:
        await fetcher.aclose()


def _read_given(options: CallOptions) -> str | None:
    return None if options.token_env is None else read_token_variable(options.token_env).reveal()


def _has_person() -> bool:
    return is_terminal(0) and is_terminal(2)


def _opens_browser(options: CallOptions, environ: Mapping[str, str]) -> bool:
    return has_browser(environ) and not options.no_browser


def _find_person(package: str, options: CallOptions) -> Person:
    if not _has_person() or options.as_json:
        return Person()

    async def ask(method: str, params: Json) -> Json:
        return await ask_person(method, params, package=package, open_url=open_browser)

    return Person(ask=ask, note_progress=lambda text: print_notice(f"... {text}"))


def _may_log_in(options: CallOptions) -> bool:
    return options.names_package and not options.no_login


def _explain_nobody(options: CallOptions) -> str:
    """Why no login is begun, where none can be."""
    if not options.names_package:
        return "A login begins only where one package is named."
    if options.no_login:
        return "--no-login was given, and no login is stored that is good."
    return "Nobody can be asked here: there is neither a browser nor a terminal."


def _find_login_person(
    options: CallOptions, environ: Mapping[str, str], lines: "asyncio.Queue[str]"
) -> LoginPerson | None:
    opens = _opens_browser(options, environ)
    if not _may_log_in(options) or not (opens or is_terminal(2)):
        return None

    def show_address(url: str) -> None:
        if opens:
            print_notice("Opening your browser to log in. If it does not open, open this address in it:")
            print_notice(f"  {url}")
            open_browser(url)
            return
        print_notice("Open this address in a browser to log in:")
        print_notice(f"  {url}")
        print_notice("If the browser is on another machine, paste the address here at which it ends:")

    return LoginPerson(show_address=show_address, say=print_notice, pasted_lines=lines)
