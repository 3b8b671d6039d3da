"""Attestations of PEP 740: signed by the identity of whoever builds, which only a CI with OIDC or a person has.

Nothing here makes one up: without an identity there is none, and the script says so.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from id import IdentityError, detect_credential
from pydantic import ValidationError
from pypi_attestations import Attestation, AttestationError, Distribution
from sigstore.verify.policy import UnsafeNoOp

from fluidmcp.errors import UserError
from tests.acceptance.harness import BIN
from tests.release.project import run

AUDIENCE: Final = "sigstore"
ENDING: Final = ".publish.attestation"


def attest(paths: Sequence[Path]) -> str:
    """Sign each file beside itself, and check what was signed; the line that says what was done.

    Raises:
        UserError: there is an identity, and signing failed.
    """
    try:
        # Looked at, not kept: the tool asks for one of its own, and a token of it never comes through here.
        is_known = detect_credential(AUDIENCE) is not None
    except IdentityError:
        return "No attestations: the identity of this CI cannot be asked for; it has to allow ID tokens."
    if not is_known:
        return "No attestations: this is no CI that has an OIDC identity."
    run([BIN / "pypi-attestations", "sign", *paths], cwd=paths[0].parent)
    for path in paths:
        check_attestation(path)
    return f"Attestations: {', '.join(path.name + ENDING for path in paths)}."


def check_attestation(path: Path) -> None:
    """That the attestation beside `path` is of these bytes and properly signed, without asking anybody.

    Who signed it is for the reader to judge: `pypi-attestations inspect` shows the identity.

    Raises:
        UserError: it is missing, or is not of this file.
    """
    beside = path.with_name(path.name + ENDING)
    try:
        attestation = Attestation.model_validate(json.loads(beside.read_text(encoding="utf-8")))
        attestation.verify(UnsafeNoOp(), Distribution.from_file(path), offline=True)
    except (OSError, ValueError, ValidationError, AttestationError) as error:
        raise UserError(
            f"{beside.name} does not attest {path.name}.", why=f"The library says {type(error).__name__}."
        ) from None
