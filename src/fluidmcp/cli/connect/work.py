"""What `fluidmcp connect` does."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from fluidmcp.cli.connect.files import find_client_file, read_client_bytes, show_path, write_client_bytes
from fluidmcp.cli.connect.token import ClientToken, read_client_token
from fluidmcp.cli.gateway_url import find_gateway_url
from fluidmcp.cli.output import print_line, print_notice, print_warning
from fluidmcp.config.settings import read_environment
from fluidmcp.errors import GatewayUnreachableError, UnknownPackageError, UserError
from fluidmcp.operator.calls.gateway import Gateway, list_packages, reach
from fluidmcp.packages.clients.editing import edit_client_file, read_client_file
from fluidmcp.packages.clients.endpoint import Endpoint, make_client_name, make_endpoint, tell_apart
from fluidmcp.packages.clients.planning import Change, Plan, Put, Remove, Replace, plan_adding, plan_removing
from fluidmcp.packages.clients.snippets import Snippet, describe_client
from fluidmcp.packages.clients.table import FILE_CLIENTS, FileClient

_HEADINGS: Final = {
    "command": "In a terminal:",
    "link": "{caption}, a link to open:",
    "file": "Into {caption}:",
    "code": "{caption}:",
}


def connect_client(
    key: str, package: str | None, *, url: str | None, own_name: str, token_env: str, write: bool, remove: bool
) -> None:
    """Show, write or remove.

    Raises:
        UserError: the address, the package or the client is not what the command can work with.
        GatewayUnreachableError, GatewayAnswerError: the packages are not known, and the gateway does not tell them.
        ConfigurationError: the client's file is left as it is.
    """
    gateway_url = find_gateway_url(url)
    client = FILE_CLIENTS.get(key)
    if (write or remove) and client is None:
        raise UserError(
            f"{key} has no file to write.", hint=f"Run it without --write: fluidmcp connect {key} shows what to do."
        )
    if remove and client is not None:
        _remove(client, gateway_url, package)
        return
    token = read_client_token(key, token_env)
    endpoints = asyncio.run(_find_endpoints(gateway_url, package, token))
    if own_name:
        endpoints = [replace(endpoints[0], name=_check_name(own_name))]
    snippet = describe_client(key, endpoints)
    if write and client is not None:
        _write(client, endpoints, snippet)
    else:
        _show(snippet, client)


def _check_name(name: str) -> str:
    if make_client_name(name) != name:
        raise UserError(
            "The name cannot be used in every client.",
            why="A name takes 1 to 40 letters, digits, hyphens and underscores.",
            hint=f"For example: --as {make_client_name(name)}",
        )
    return name


async def _find_endpoints(gateway_url: str, package: str | None, token: ClientToken) -> list[Endpoint]:
    """One for the package, or for each of the gateway, in its order; whether they want a login is asked there."""
    async with reach(gateway_url) as gateway:
        if package is not None:
            try:
                return [await _look(gateway, package, token)]
            except GatewayUnreachableError as error:
                print_warning(f"{error.what} Whether it has a package {package} is not known.")
                return [make_endpoint(gateway_url, package, token_variable=token.variable)]
        names = await list_packages(gateway, token.authorization)
        return tell_apart([await _look(gateway, name, token) for name in names])


async def _look(gateway: Gateway, package: str, token: ClientToken) -> Endpoint:
    seen = seen_with = await gateway.look(package)
    if seen != "open" and token.authorization is not None:
        seen_with = await gateway.look(package, token.authorization)
    if "missing" in (seen, seen_with):
        raise UnknownPackageError(
            f"The gateway at {gateway.url} has no package {package}.",
            hint="Its start output names them; fluidmcp tools lists them where the gateway is on this machine.",
        )
    if seen_with != "open" and token.authorization is not None:
        print_warning(
            f"{package} refuses the token that is in {token.variable} now: it is not that of the gateway, or the "
            "package has a login of its own, which needs a second token."
        )
    elif seen == "token" and not token.variable:
        print_warning(
            f"{package} wants a token, and the gateway has no login that leads to one, as with --secure. Put the token "
            "into an environment variable, and name it: --token-env FMCP_SECURE_TOKEN. It is not in what is shown or "
            "written here."
        )
    return make_endpoint(gateway.url, package, needs_login=seen == "login", token_variable=token.variable)


def _show(snippet: Snippet, client: FileClient | None) -> None:
    steps = [part for part in snippet.parts if part.kind == "step"]
    for number, step in enumerate(steps, start=1):
        print_line(f"{number}. {step.text}")
    for number, part in enumerate(part for part in snippet.parts if part.kind != "step"):
        if number:
            print_line()
            print_line("Or:")
        print_line(_HEADINGS[part.kind].format(caption=part.caption))
        print_line()
        for line in part.text.splitlines():
            print_line(line)
    print_line()
    for remark in snippet.remarks:
        print_line(remark)
    if client is not None:
        print_notice("--write puts it into the file for you.")


def _write(client: FileClient, endpoints: Sequence[Endpoint], snippet: Snippet) -> None:
    environ = read_environment()
    path = find_client_file(client, environ)
    shown = show_path(path, environ)
    before = read_client_bytes(path, shown=shown)
    document = read_client_file(before or b"", client, shown=shown)
    plan = plan_adding(document, client, endpoints, shown=shown)
    if plan.kept:
        print_line(f"{shown} has {', '.join(plan.kept)} already.")
    if plan.tokenless:
        print_warning(
            f"{', '.join(plan.tokenless)} in {shown} will not send the token in {endpoints[0].token_variable}: it "
            "sends something else already, or starts a command. Change it by hand, or --remove it first."
        )
    if not plan.changes:
        return
    content = edit_client_file(before or b"", client, plan, shown=shown)
    _save(client, plan, path, content, before=before, shown=shown)
    for remark in snippet.remarks:
        print_line(remark)


def _remove(client: FileClient, gateway_url: str, package: str | None) -> None:
    environ = read_environment()
    path = find_client_file(client, environ)
    shown = show_path(path, environ)
    before = read_client_bytes(path, shown=shown)
    document = read_client_file(before or b"", client, shown=shown)
    url = None if package is None else make_endpoint(gateway_url, package).url
    plan = plan_removing(document, client, gateway_url=gateway_url, url=url, shown=shown)
    if before is None or not plan.changes:
        print_line(f"{shown} has nothing of {url or gateway_url}; it is as it was.")
        return
    content = edit_client_file(before, client, plan, shown=shown)
    _save(client, plan, path, content, before=before, shown=shown)


def _save(client: FileClient, plan: Plan, path: Path, content: bytes, *, before: bytes | None, shown: str) -> None:
    copy = write_client_bytes(path, content, before=before, shown=shown)
    done: dict[str, list[str]] = {}
    for change in plan.changes:
        done.setdefault(_name_change(change), []).append(change.name)
    for verb, names in done.items():
        print_line(f"{verb} {', '.join(names)}: {shown}, the file of {client.title}.")
    if copy is not None:
        print_line(f"As it was before: {copy}")


def _name_change(change: Change) -> str:
    match change:
        case Put():
            return "Added"
        case Replace(what="address"):
            return "Changed the address of"
        case Replace():
            return "Added the token's variable to"
        case Remove():
            return "Removed"
