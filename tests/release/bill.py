"""The bill of materials (CycloneDX 1.6, JSON): what is installed with the wheel, in the versions that were tested."""

import hashlib
import json
from pathlib import Path
from typing import Any, Final

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from fluidmcp.errors import UserError
from tests.acceptance.harness import BIN
from tests.architecture.rules import FOREIGN_WORDS
from tests.release.project import Project, run

_LOCAL: Final = "file:"


def write_bill(project: Project, wheel: Path, python: Path, target: Path) -> None:
    """Of the environment of `python`, in which only the wheel and its dependencies are.

    Raises:
        UserError: it does not say of each part its name, version and licence, or is no CycloneDX.
    """
    text = run(
        [BIN / "cyclonedx-py", "environment", "--output-reproducible", "--of", "JSON"]
        + ["--pyproject", project.root / "pyproject.toml", python],
        cwd=target.parent,
        env={"SOURCE_DATE_EPOCH": str(project.epoch)},
    )
    document = drop_foreign_addresses(json.loads(text))
    # The version is not in pyproject.toml, and the wheel is not yet anywhere: both are added here.
    document["metadata"]["component"] |= {
        "version": project.version,
        "purl": f"pkg:pypi/{project.name}@{project.version}",
        "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(wheel.read_bytes()).hexdigest()}],
    }
    check_bill(project, document)
    target.write_text(f"{json.dumps(document, indent=2, sort_keys=True)}\n", encoding="utf-8")


def drop_foreign_addresses(value: Any) -> Any:
    """The document without the references that name a package registry, or a path of this machine."""
    if isinstance(value, list):
        return [drop_foreign_addresses(each) for each in value]  # pyright: ignore[reportUnknownVariableType]
    if not isinstance(value, dict):
        return value
    changed: dict[str, Any] = {name: drop_foreign_addresses(each) for name, each in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if "externalReferences" in changed:
        kept = [each for each in changed["externalReferences"] if not _is_foreign(each["url"])]
        changed["externalReferences"] = kept
    return changed


def check_bill(project: Project, document: dict[str, Any]) -> None:
    """Raises UserError where something is missing, there is a foreign address, or the schema is not kept."""
    components: list[dict[str, Any]] = document.get("components", [])
    names = {str(each.get("name", "")).lower() for each in components}
    faults = [
        f"{each.get('name', 'a part')} has no {key}"
        for each in [document["metadata"]["component"], *components]
        for key in ("name", "version", "licenses", "purl")
        if not each.get(key)
    ]
    faults += [f"{name} is not in it" for name in ("click", "cryptography", "fastapi", "uvicorn") if name not in names]
    if project.name in names:
        faults.append(f"{project.name} is listed as a part of itself")
    text = json.dumps(document)
    faults += [f"it names {word}" for word in (*FOREIGN_WORDS, _LOCAL) if word in text]
    broken = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if broken is not None:
        faults.append("it does not keep the schema of CycloneDX 1.6")
    if faults:
        raise UserError("The bill of materials is not complete.", why=f"{'; '.join(faults)}.")


def _is_foreign(url: str) -> bool:
    return url.startswith(_LOCAL) or any(word in url for word in FOREIGN_WORDS)
