"""What `fluidmcp providers` prints."""

from fluidmcp.cli.gateway_url import find_gateway_url
from fluidmcp.cli.output import print_line, print_table
from fluidmcp.config.entries import parse_package_name
from fluidmcp.config.providers.describe import describe_needs, entry_to_copy, exports_to_copy, facts, steps_to_take
from fluidmcp.config.providers.table import PRESETS, find_preset, nearest_names
from fluidmcp.errors import UserError


def list_providers() -> None:
    """All presets: name, what the operator gives, and the provider's own page."""
    rows = [(preset.name, describe_needs(preset), preset.documentation) for preset in PRESETS.values()]
    print_table(("PROVIDER", "YOU GIVE", "DOCUMENTATION"), rows)
    print_line()
    print_line("What to click, and the entry to copy: fluidmcp providers NAME")


def show_provider(name: str, *, package: str, public_url: str | None) -> None:
    """One preset: what to click, what to export, the entry to copy and what is to know.

    Raises:
        UserError: there is no such preset, no package can have that name, or the address is none.
    """
    preset = find_preset(name)
    if preset is None:
        near = " or ".join(nearest_names(name))
        raise UserError(
            "There is no preset of this name.",
            hint=f"Did you mean {near}?" if near else "Run: fluidmcp providers",
        )
    served = parse_package_name(package, source="--package")
    gateway = find_gateway_url(public_url, option="--public-url")
    redirect_uri = f"{gateway}/{served}/auth/callback"
    print_line(f"{preset.title}: {preset.documentation}")
    print_line()
    print_line("At the provider:")
    for number, step in enumerate(steps_to_take(preset, redirect_uri=redirect_uri), start=1):
        print_line(f"  {number}. {step}")
    print_line()
    print_line("In the shell that starts the gateway:")
    for line in exports_to_copy(preset):
        print_line(f"  {line}")
    print_line()
    print_line("The entry (the scopes, and the variable that your server reads, are yours to choose):")
    for line in entry_to_copy(preset, package=package).splitlines():
        print_line(f"  {line}")
    print_line()
    for title, text in facts(preset):
        print_line(f"{title}: {text}")
