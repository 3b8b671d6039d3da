"""What deploy/ holds, read: the Dockerfile's settings, the services of compose.yaml."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from tests import parts

DEPLOY: Final = parts.ROOT / "deploy"
COMPOSE: Final = DEPLOY / "compose"
_DEFAULT: Final = re.compile(r"\$\{([A-Z_]+):-(.*?)\}")


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction of a Dockerfile, and the stage (its name) that it belongs to."""

    stage: str
    name: str
    words: str


def read_dockerfile() -> list[Instruction]:
    """Instructions in their order; lines that go on are one, comments are left out."""
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    found: list[Instruction] = []
    stage = ""
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        name, _, words = line.partition(" ")
        if name == "FROM":
            stage = words.rpartition(" ")[2]
        found.append(Instruction(stage, name, " ".join(words.split())))
    return found


def read_image_environment() -> dict[str, str]:
    """The variables that every container of the image has."""
    words = [i.words for i in read_dockerfile() if i.stage == "base" and i.name == "ENV"]
    return dict(pair.split("=", 1) for line in words for pair in line.split())


def read_health_command() -> str:
    """The Python program of the health check."""
    [words] = [i.words for i in read_dockerfile() if i.name == "HEALTHCHECK"]
    command: list[str] = yaml.safe_load(words[words.index("[") :])
    assert command[:3] == ["python3", "-I", "-c"]
    return command[3]


def read_compose() -> dict[str, Any]:
    return yaml.safe_load((COMPOSE / "compose.yaml").read_text(encoding="utf-8"))


def read_services() -> dict[str, dict[str, Any]]:
    return read_compose()["services"]


def fill_in(words: list[str], variables: Mapping[str, str]) -> list[str]:
    """`${NAME:-default}` replaced as Compose does."""
    return [_DEFAULT.sub(lambda found: variables.get(found[1]) or found[2], word) for word in words]


def read_env_file(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)
