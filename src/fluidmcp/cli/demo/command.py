"""`fluidmcp demo`: the options and their help. What it does stands in `demo_gateway`, imported when it is called."""

import click

from fluidmcp.cli import deferred


@click.command(short_help="Try a login and a call on this machine, with nothing to configure.")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=8099,
    show_default=True,
    metavar="PORT",
    help="Port of the gateway.",
)
@click.option(
    "--provider-port",
    type=click.IntRange(1, 65535),
    default=8098,
    show_default=True,
    metavar="PORT",
    help="Port of the made-up provider.",
)
@click.option("--no-browser", is_flag=True, help="Do not open the page in a browser.")
def demo(port: int, provider_port: int, no_browser: bool) -> int:
    """Try a login and a call on this machine, with nothing to configure.

    Starts the gateway with the package test/gmail-mock and, in place of Google, a made-up provider with two made-up
    people and their mail. Both answer this machine only, and forget everything when the command ends. Where there is a
    screen, the page of the gateway opens in a browser.
    """
    return deferred.run_demo(port=port, provider_port=provider_port, no_browser=no_browser)
