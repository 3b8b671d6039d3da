"""Late imports for commands, so that `--help` does not wait, and a mistake in what was typed is answered at once."""

from typing import TYPE_CHECKING, Final

from fluidmcp.late_imports import import_late

if TYPE_CHECKING:
    from fluidmcp.cli.account.denying import change_denied as change_denied
    from fluidmcp.cli.account.denying import show_denied as show_denied
    from fluidmcp.cli.account.session import print_token as print_token
    from fluidmcp.cli.account.session import run_login as run_login
    from fluidmcp.cli.account.session import run_logout as run_logout
    from fluidmcp.cli.account.session import show_status as show_status
    from fluidmcp.cli.calls.work import run_call as run_call
    from fluidmcp.cli.calls.work import run_tools as run_tools
    from fluidmcp.cli.catalogue.adding import add_server as add_server
    from fluidmcp.cli.catalogue.show import list_servers as list_servers
    from fluidmcp.cli.catalogue.show import show_server as show_server
    from fluidmcp.cli.completion.lists import list_installed_names as list_installed_names
    from fluidmcp.cli.completion.lists import list_known_server_names as list_known_server_names
    from fluidmcp.cli.completion.lists import list_package_names as list_package_names
    from fluidmcp.cli.completion.lists import list_preset_names as list_preset_names
    from fluidmcp.cli.completion.lists import list_runnable_names as list_runnable_names
    from fluidmcp.cli.connect.work import connect_client as connect_client
    from fluidmcp.cli.demo.gateway import run_demo as run_demo
    from fluidmcp.cli.doctor.run import run_doctor as run_doctor
    from fluidmcp.cli.doctor.run import run_package_doctor as run_package_doctor
    from fluidmcp.cli.doctor.walking import run_url_doctor as run_url_doctor
    from fluidmcp.cli.files.checking import validate_files as validate_files
    from fluidmcp.cli.files.writing import import_files as import_files
    from fluidmcp.cli.packages.progress import Spinner as Spinner
    from fluidmcp.cli.packages.work import install_missing as install_missing
    from fluidmcp.cli.packages.work import run_install as run_install
    from fluidmcp.cli.packages.work import run_uninstall as run_uninstall
    from fluidmcp.cli.packages.work import show_installed as show_installed
    from fluidmcp.cli.providers.show import list_providers as list_providers
    from fluidmcp.cli.providers.show import show_provider as show_provider
    from fluidmcp.cli.serving.ask import ask_at_terminal as ask_at_terminal
    from fluidmcp.cli.serving.diagnosis import choose_line as choose_line
    from fluidmcp.cli.serving.diagnosis import diagnose as diagnose
    from fluidmcp.cli.serving.launch import RunOptions as RunOptions
    from fluidmcp.cli.serving.launch import run_target as run_target
    from fluidmcp.cli.serving.listening.activation import take_given_socket as take_given_socket
    from fluidmcp.cli.serving.listening.tls import Certificate as Certificate
    from fluidmcp.cli.serving.live import LiveTable as LiveTable
    from fluidmcp.cli.serving.serve import allow_many_descriptors as allow_many_descriptors
    from fluidmcp.cli.serving.serve import hide_memory as hide_memory
    from fluidmcp.cli.serving.start import start_gateway as start_gateway
    from fluidmcp.cli.serving.table import show_table as show_table
    from fluidmcp.config.settings import read_environment as read_environment
    from fluidmcp.demo.provider import create_provider as create_provider
    from fluidmcp.demo.registration import Registration as Registration
    from fluidmcp.gateway.composition import GatewayOptions as GatewayOptions
    from fluidmcp.gateway.lifecycle import Gateway as Gateway
    from fluidmcp.guards.gateway_auth import GatewayAuth as GatewayAuth
    from fluidmcp.guards.gateway_auth import StaticTokenAuth as StaticTokenAuth
    from fluidmcp.guards.gateway_login import ForeignIssuer as ForeignIssuer
    from fluidmcp.guards.gateway_login import GatewayProvider as GatewayProvider
    from fluidmcp.oauth_client.fetch import Fetcher as Fetcher
    from fluidmcp.observability.logs import tell as tell
    from fluidmcp.operator.operator_token import OperatorToken as OperatorToken
    from fluidmcp.operator.token_file import find_token_file as find_token_file

_MODULES: Final = {
    "tell": "fluidmcp.observability.logs",
    "GatewayAuth": "fluidmcp.guards.gateway_auth",
    "StaticTokenAuth": "fluidmcp.guards.gateway_auth",
    "ForeignIssuer": "fluidmcp.guards.gateway_login",
    "GatewayProvider": "fluidmcp.guards.gateway_login",
    "change_denied": "fluidmcp.cli.account.denying",
    "show_denied": "fluidmcp.cli.account.denying",
    "print_token": "fluidmcp.cli.account.session",
    "run_login": "fluidmcp.cli.account.session",
    "run_logout": "fluidmcp.cli.account.session",
    "show_status": "fluidmcp.cli.account.session",
    "run_call": "fluidmcp.cli.calls.work",
    "run_tools": "fluidmcp.cli.calls.work",
    "add_server": "fluidmcp.cli.catalogue.adding",
    "list_servers": "fluidmcp.cli.catalogue.show",
    "show_server": "fluidmcp.cli.catalogue.show",
    "list_installed_names": "fluidmcp.cli.completion.lists",
    "list_known_server_names": "fluidmcp.cli.completion.lists",
    "list_package_names": "fluidmcp.cli.completion.lists",
    "list_preset_names": "fluidmcp.cli.completion.lists",
    "list_runnable_names": "fluidmcp.cli.completion.lists",
    "connect_client": "fluidmcp.cli.connect.work",
    "run_demo": "fluidmcp.cli.demo.gateway",
    "run_doctor": "fluidmcp.cli.doctor.run",
    "run_package_doctor": "fluidmcp.cli.doctor.run",
    "run_url_doctor": "fluidmcp.cli.doctor.walking",
    "validate_files": "fluidmcp.cli.files.checking",
    "import_files": "fluidmcp.cli.files.writing",
    "list_providers": "fluidmcp.cli.providers.show",
    "show_provider": "fluidmcp.cli.providers.show",
    "ask_at_terminal": "fluidmcp.cli.serving.ask",
    "Spinner": "fluidmcp.cli.packages.progress",
    "install_missing": "fluidmcp.cli.packages.work",
    "run_install": "fluidmcp.cli.packages.work",
    "run_uninstall": "fluidmcp.cli.packages.work",
    "show_installed": "fluidmcp.cli.packages.work",
    "choose_line": "fluidmcp.cli.serving.diagnosis",
    "diagnose": "fluidmcp.cli.serving.diagnosis",
    "RunOptions": "fluidmcp.cli.serving.launch",
    "run_target": "fluidmcp.cli.serving.launch",
    "take_given_socket": "fluidmcp.cli.serving.listening.activation",
    "Certificate": "fluidmcp.cli.serving.listening.tls",
    "LiveTable": "fluidmcp.cli.serving.live",
    "allow_many_descriptors": "fluidmcp.cli.serving.serve",
    "hide_memory": "fluidmcp.cli.serving.serve",
    "start_gateway": "fluidmcp.cli.serving.start",
    "show_table": "fluidmcp.cli.serving.table",
    "read_environment": "fluidmcp.config.settings",
    "create_provider": "fluidmcp.demo.provider",
    "Registration": "fluidmcp.demo.registration",
    "GatewayOptions": "fluidmcp.gateway.composition",
    "Gateway": "fluidmcp.gateway.lifecycle",
    "Fetcher": "fluidmcp.oauth_client.fetch",
    "OperatorToken": "fluidmcp.operator.operator_token",
    "find_token_file": "fluidmcp.operator.token_file",
}

__getattr__ = import_late(__name__, _MODULES)
