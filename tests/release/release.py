"""`scripts/release`: what a release consists of, built, checked and tried; nothing is sent anywhere."""

import asyncio
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from fluidmcp.errors import UserError
from tests.acceptance.harness import BIN
from tests.release import artefacts, attestations, bill, interpreters, trial
from tests.release.project import Project, check_ready, read_project

ROOT: Final = Path(__file__).resolve().parents[2]
CHECKSUMS: Final = "SHA256SUMS"


@click.command()
@click.option("--to", "target", type=click.Path(path_type=Path), default=ROOT / "dist", help="Folder; new, or empty.")
@click.option(
    "--python",
    "pythons",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    multiple=True,
    help="An interpreter to try it with; several times. Without: one of each version that pyproject.toml names.",
)
@click.option("--attest", is_flag=True, help="Sign wheel and sdist, where this is a CI with an OIDC identity.")
def release(target: Path, pythons: tuple[Path, ...], attest: bool) -> None:
    """Build wheel and sdist of this commit, check and try them, and put them into dist/."""
    try:
        project = read_project(ROOT)
        if target.exists() and any(target.iterdir()):
            raise UserError(f"{target} is not empty.", hint="What lies there might be sent along: remove it.")
        check_ready(project)
        chosen = _choose(project, pythons)
        with tempfile.TemporaryDirectory(prefix="fluidmcp-release-") as folder:
            made = _make(project, chosen, Path(folder), wants_attestations=attest)
            target.mkdir(parents=True, exist_ok=True)
            for path in made:
                shutil.copyfile(path, target / path.name)
    except UserError as error:
        parts = (f"Error: {error.what}", error.why, error.hint)
        raise click.ClickException("\n".join(part for part in parts if part).removeprefix("Error: ")) from None
    say(f"{project.name} {project.version} lies in {target}; docs/releasing.md says how it is published.")


def say(line: str) -> None:
    click.echo(line)


def _choose(project: Project, pythons: Sequence[Path]) -> dict[str, Path]:
    if not pythons:
        return interpreters.find_all(project.pythons)
    chosen = {interpreters.ask_version(path) or "?": path for path in pythons}
    untried = [version for version in project.pythons if version not in chosen]
    if "?" in chosen:
        raise UserError(f"{chosen['?']} is no Python that runs.")
    if untried:
        say(f"Not tried with Python {', '.join(untried)}, which pyproject.toml names.")
    return chosen


def _make(project: Project, pythons: dict[str, Path], work: Path, *, wants_attestations: bool) -> list[Path]:
    began = time.monotonic()
    wheel, sdist = artefacts.build_twice(project, work)
    say(f"Built twice, with the same bytes: {wheel.name}, {sdist.name}.")
    artefacts.check_contents(project, wheel, sdist)
    artefacts.check_descriptions(wheel, sdist)
    say("Contents are those of the commit; twine finds no fault.")
    made = [wheel, sdist, wheel.with_name(project.bill_name)]
    empty = work / "empty"
    empty.mkdir()
    for number, (version, interpreter) in enumerate(pythons.items()):
        python = trial.install(project, wheel, interpreter, work / f"python{version}")
        if number == 0:
            bill.write_bill(project, wheel, python, made[2])
            say(f"Bill of materials: {project.bill_name}.")
        trial.check_commands(project, python, empty)
        asyncio.run(trial.try_demo([python.with_name("fluidmcp"), "demo"], empty))
        # The newest versions that the ranges allow, as people get them.
        uvx = [BIN / "uv", "tool", "run", "--quiet", "--no-config", "--isolated", "--python", interpreter]
        asyncio.run(trial.try_demo([*uvx, "--from", wheel, "fluidmcp", "demo"], empty))
        say(f"Python {version}: version, login and a call in the demo, installed and through uvx.")
    artefacts.write_checksums(made, wheel.with_name(CHECKSUMS))
    made.append(wheel.with_name(CHECKSUMS))
    if wants_attestations:
        say(attestations.attest([wheel, sdist]))
        made += sorted(wheel.parent.glob(f"*{attestations.ENDING}"))
    else:
        say("No attestations: --attest was not given.")
    say(f"{time.monotonic() - began:.0f} s")
    return made


if __name__ == "__main__":
    release()
