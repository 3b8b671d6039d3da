import dataclasses

import pytest

from fluidmcp.crypto.digest import PackageDigest
from tests.providers.login_gateway import auth_block

BLOCK = auth_block("https://as.example")
KEY = bytes(range(32))


def make(key: bytes = KEY, package: str = "mail", client_id: str = "c", **changes: object) -> PackageDigest:
    block = dataclasses.replace(BLOCK, **changes)  # type: ignore[arg-type]
    return PackageDigest(key, package=package, block=block, client_id=client_id)


def test_a_digest_depends_on_key_package_block_client_purpose_and_the_whole_text() -> None:
    token = "t" * 1000
    digests = [
        make().of("access_token", token),
        make().of("refresh_token", token),
        make().of("access_token", token + "x"),
        make().of("access_token", "x" + token),
        make(key=bytes(32)).of("access_token", token),
        make(package="mai").of("access_token", "l" + token),
        make(client_id="d").of("access_token", token),
        make(scopes=("mail.read", "mail.send")).of("access_token", token),
        make(allowed_subjects=("x",)).of("access_token", token),
    ]
    assert len(set(digests)) == len(digests)
    assert make().of("access_token", token) == digests[0]
    assert len(digests[0]) == 64
    assert token[:20] not in digests[0]


def test_a_text_that_is_no_utf8_has_a_digest_too() -> None:
    assert make().of("access_token", "\udc80") != make().of("access_token", "?")


@pytest.mark.threat("D09")
def test_d09_a_record_opens_only_under_its_own_key_unchanged_and_from_its_own_package() -> None:
    sealed = make().seal("k", b"payload")
    assert make().unseal("k", sealed) == b"payload"
    assert make().unseal("other", sealed) is None
    assert make(package="jira").unseal("k", sealed) is None
    assert make().unseal("k", sealed[:-1] + b"X") is None
    assert make().unseal("k", b"payload") is None
    assert make().unseal("k", b"") is None
    assert make().unseal("k", None) is None


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="32"):
        make(key=b"short")
