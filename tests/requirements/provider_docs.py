"""What docs/providers says of presets, made from their table."""

from pathlib import Path
from typing import Final

from fluidmcp.config.providers.describe import describe_needs, entry_to_copy, exports_to_copy, facts, steps_to_take
from fluidmcp.config.providers.preset import Preset
from fluidmcp.config.providers.table import PRESETS

FOLDER: Final = Path(__file__).resolve().parents[2] / "docs" / "providers"
BEGIN: Final = "<!-- made by scripts/update-docs from here -->\n"
END: Final = "<!-- to here -->\n"
OWN_PAGES: Final = {"microsoft": "entra-id"}
"""Presets whose hand-written page has another name."""
_REDIRECT_URI: Final = "http://localhost:8099/mypackage/auth/callback"


def render_page() -> str:
    """The text of docs/providers/presets.md."""
    head = (
        "# Presets\n\n"
        "Made by `scripts/update-docs` from the table in `src/fluidmcp/config/providers`. The same for one provider,\n"
        "with your own redirect URI: `fluidmcp providers NAME --package PACKAGE --public-url URL`.\n\n"
        "What stands here comes from each provider's documentation and was tried against answers in the shape that it\n"
        "shows, not at the provider. Names of menus and buttons may have moved. A note says what is not confirmed.\n"
        "Each key of an entry wins over the preset: [all keys](../package-login.md#1-describe-the-provider).\n"
    )
    return head + "".join(_section(preset) for preset in PRESETS.values())


def render_table() -> str:
    """The rows of docs/providers/README.md."""
    rows = [
        f"| [`{p.name}`](presets.md#{p.name}) | {p.title} | {_needs(p)} | {_secret(p)} |\n" for p in PRESETS.values()
    ]
    return "| `provider` | | you give | needs a secret |\n|---|---|---|---|\n" + "".join(rows)


def render_readme(text: str) -> str:
    """The README with its table renewed."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{render_table()}{END}{after}"


def _section(preset: Preset) -> str:
    own = FOLDER / f"{OWN_PAGES.get(preset.name, preset.name)}.md"
    page = f" [More on this provider]({own.name})." if own.exists() else ""
    steps = "".join(
        f"{number}. {step}\n" for number, step in enumerate(steps_to_take(preset, redirect_uri=_REDIRECT_URI), 1)
    )
    exports = "\n".join(exports_to_copy(preset))
    known = "".join(f"- **{title}**: {text.rstrip('.')}.\n" for title, text in facts(preset))
    answer = ", ".join(f"`{name}`" for name, _ in preset.answer)
    return (
        f"\n## {preset.name}\n\n{preset.title}. [Its documentation]({preset.documentation}).{page}\n\n{steps}\n"
        f"```bash\n{exports}\n```\n\n```json\n{entry_to_copy(preset)}\n```\n\n{known}"
        f"- **The token answer** holds {answer}.\n"
    )


def _needs(preset: Preset) -> str:
    needs = describe_needs(preset)
    return "" if needs == "-" else needs


def _secret(preset: Preset) -> str:
    return "yes" if preset.needs_secret else "no"


if __name__ == "__main__":
    (FOLDER / "presets.md").write_text(render_page(), encoding="utf-8")
    readme = FOLDER / "README.md"
    readme.write_text(render_readme(readme.read_text(encoding="utf-8")), encoding="utf-8")
