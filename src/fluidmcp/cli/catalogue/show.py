"""What `fluidmcp catalogue` prints, and what `fluidmcp add` says of the entry that it wrote."""

import shlex
from dataclasses import dataclass
from urllib.parse import urlsplit

from fluidmcp.cli.gateway_url import find_gateway_url
from fluidmcp.cli.output import print_line, print_table
from fluidmcp.config.entries import parse_package_name
from fluidmcp.config.urls import is_loopback_host
from fluidmcp.errors import UserError
from fluidmcp.packages.catalogue.describe import (
    describe_needs,
    describe_rules,
    entry_to_copy,
    find_provider,
    has_redirect,
    install_command,
    list_exports,
    list_remarks,
    name_keys,
    name_provider,
    read_auth,
    show_provider,
)
from fluidmcp.packages.catalogue.find import find_server, nearest_names, show_package
from fluidmcp.packages.catalogue.known_server import KnownServer
from fluidmcp.packages.catalogue.table import KNOWN_SERVERS
from fluidmcp.packages.resolve import FILE_ENDINGS


def list_servers() -> None:
    """All known servers: name, title, package, provider, and what the operator exports."""
    rows = [
        (server.name, server.title, show_package(server), show_provider(server), describe_needs(server))
        for server in KNOWN_SERVERS.values()
    ]
    print_table(("SERVER", "TITLE", "PACKAGE", "LOGIN", "YOU EXPORT"), rows)
    print_line()
    print_line("The entry, and what to register: fluidmcp catalogue NAME. To write it: fluidmcp add NAME")


def show_server(name: str, *, own_name: str, public_url: str | None) -> None:
    """One server: its entry, what to register and to export, and what is to know.

    Raises:
        UserError: there is no such server, the other name cannot be served, or the address is none.
    """
    server = get_server(name)
    registration = plan_registration(server, own_name or name, public_url=public_url)
    print_line(f"{server.title}: {show_package(server)}")
    print_line()
    print_line(f"The entry{' (the scopes are yours to choose)' if has_redirect(server) else ''}:")
    for line in entry_to_copy(server, name=own_name or name).splitlines():
        print_line(f"  {line}")
    print_line()
    tell_what_to_do(registration)
    print_line()
    print_line("To write the entry:")
    print_line(f"  fluidmcp add {name}{f' --as {shlex.quote(own_name)}' if own_name else ''}{registration.options}")
    tell_remarks(registration)


def get_server(name: str) -> KnownServer:
    """The server of that name. Raises UserError with the nearest names."""
    server = find_server(name)
    if server is None:
        near = " or ".join(nearest_names(name))
        raise UserError(
            "There is no server of this name in the catalogue.",
            hint=f"Did you mean {near}?" if near else "Run: fluidmcp catalogue",
        )
    return server


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """Where an entry of a server will answer, for what the operator registers and types."""

    server: KnownServer
    address: str
    """The name of the entry as it stands in addresses."""
    public_url: str
    is_given: bool
    """Whether the public address was typed, so that the gateway has to be told, too."""

    @property
    def redirect_uri(self) -> str:
        return f"{self.public_url}/{self.address}/auth/callback"

    @property
    def options(self) -> str:
        """What commands that tell of this address are given behind their own arguments."""
        return f" --public-url {shlex.quote(self.public_url)}" if self.is_given else ""

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is to know of this address."""
        if not read_auth(self.server):
            return ()
        found: list[str] = []
        preset = find_provider(self.server)
        if preset is not None and preset.https_redirect and not self.public_url.startswith("https:"):
            found.append(f"{preset.title} wants a redirect URI with https: reach the gateway so, and add --public-url.")
        if not is_loopback_host(urlsplit(self.public_url).hostname or ""):
            found.append(
                "At this address others can reach the gateway, which then wants to be told who is let in: "
                + describe_rules(self.server)
                if has_redirect(self.server)
                else "At this address others can reach the gateway, which then wants a login of its own: start it with "
                '--oauth or --secure, or put "allow_any_user": true into auth.'
            )
        return tuple(found)


def plan_registration(server: KnownServer, name: str, *, public_url: str | None) -> Registration:
    """Where the entry of that name will answer.

    Raises:
        UserError: the name cannot be served, or the public address is none.
    """
    address = parse_package_name(name, source="the command line")
    url = find_gateway_url(public_url, option="--public-url")
    return Registration(server=server, address=address, public_url=url, is_given=public_url is not None)


def tell_what_to_do(registration: Registration) -> None:
    """What to register where, what people type, and what to export."""
    server = registration.server
    preset = find_provider(server)
    if has_redirect(server):
        print_line(f"Register this redirect URI with {name_provider(server)}:")
        print_line(f"  {registration.redirect_uri}")
        if preset is not None:
            page = f"fluidmcp providers {preset.name} --package {registration.address}{registration.options}"
            print_line(f"What to click there: {page}")
    if server.register:
        print_line(server.register)
    keys = name_keys(server)
    if keys:
        print_line("There is nothing to register. Each person types, on a page of the gateway:")
        print_line(f"  {keys}")
    exports = list_exports(server)
    if exports:
        print_line()
        print_line("Export, in the shell that starts the gateway:")
        for export in exports:
            print_line(f"  {export.line}")


def tell_next_commands(registration: Registration, file: str) -> None:
    """What to type next."""
    install = install_command(registration.server)
    print_line("Install, check and start it:")
    if install is not None:
        print_line(f"  {install}")
    is_known = file.endswith(FILE_ENDINGS)
    if is_known:  # else only `run` can be told that it is a file
        check = f"doctor {shlex.quote(file)}{registration.options}" if read_auth(registration.server) else None
        print_line(f"  fluidmcp {check or f'validate {shlex.quote(file)}'}")
    ending = "" if is_known else "--file "
    print_line(f"  fluidmcp run {ending}{shlex.quote(file)} --start-server{registration.options}")
    address = f"{registration.public_url}/{registration.address}"
    login = f"log in at {address}/auth/login, or " if read_auth(registration.server) else ""
    print_line(f"Then {login}give an MCP client {address}/mcp")


def tell_remarks(registration: Registration) -> None:
    """What is to know beyond that."""
    remarks = (*registration.remarks, *list_remarks(registration.server))
    if remarks:
        print_line()
    for remark in remarks:
        print_line(f"Note: {remark}")
