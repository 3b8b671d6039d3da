import re

import pytest

from fluidai_mcp.services import oauth2_pkce
from fluidmcp.oauth_client.pkce import code_challenge_s256, create_code_verifier


@pytest.mark.promise(59, 111)
def test_the_challenge_of_rfc_7636_appendix_b_comes_out() -> None:
    octets = [116, 24, 223, 180, 151, 153, 224, 37, 79, 250, 96, 125, 216, 173, 187, 186]
    octets += [22, 212, 37, 77, 105, 214, 191, 240, 91, 88, 5, 88, 83, 132, 141, 121]
    verifier = create_code_verifier(lambda size: bytes(octets[:size]))
    assert verifier == "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    assert code_challenge_s256(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


@pytest.mark.promise(58)
@pytest.mark.threat("B10")
def test_b10_verifiers_have_43_unreserved_characters_and_never_repeat() -> None:
    verifiers = {create_code_verifier() for _ in range(1000)}
    assert len(verifiers) == 1000
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", verifier) for verifier in verifiers)


@pytest.mark.promise(62)
def test_the_documented_import_path_gives_the_real_code() -> None:
    assert oauth2_pkce.create_code_verifier is create_code_verifier
    assert oauth2_pkce.code_challenge_s256 is code_challenge_s256
