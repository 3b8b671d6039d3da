"""The certificate of a gateway: what is refused, and what a change of the files does."""

import asyncio
import datetime
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from fluidmcp.cli.serving.listening.tls import Certificate
from fluidmcp.config.listening.choose import TlsFiles
from fluidmcp.errors import ConfigurationError
from tests.acceptance.certificates import Authority

LIMIT_SECONDS = 60.0


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    authority = Authority(tmp_path)
    authority.issue()
    return authority


def files(authority: Authority) -> TlsFiles:
    return TlsFiles(certificate=str(authority.certificate), key=str(authority.key))


def swap_key(authority: Authority) -> None:
    text = authority.certificate.read_bytes()
    authority.issue()
    authority.certificate.write_bytes(text)


def write_broken_key(authority: Authority) -> None:
    authority.key.write_text("-----BEGIN PRIVATE KEY-----\nQUJD\n-----END PRIVATE KEY-----\n")


BREAKS: list[tuple[Callable[[Authority], object], str]] = [
    (lambda it: it.certificate.unlink(), "No such file"),
    (lambda it: it.key.unlink(), "No such file"),
    (lambda it: it.certificate.write_text("no certificate"), "holds no certificate in PEM"),
    (write_broken_key, "no private key"),
    (lambda it: it.issue(password=b"secret words"), "is encrypted"),
    (swap_key, "is not that of the first certificate"),
    (lambda it: it.issue(begins_in_days=-10, days=5), "ended on"),
    (lambda it: it.issue(begins_in_days=5), "is good from"),
]


@pytest.mark.parametrize(
    ("breaks", "says"),
    BREAKS,
    ids=["no certificate", "no key", "not PEM", "broken key", "encrypted", "not a pair", "expired", "not yet"],
)
def test_a_pair_that_cannot_be_used_is_refused_and_its_key_not_told(
    authority: Authority, breaks: Callable[[Authority], object], says: str
):
    breaks(authority)
    with pytest.raises(ConfigurationError) as caught:
        Certificate(files(authority))
    told = f"{caught.value.what} {caught.value.why} {caught.value.hint}"
    assert says in told
    lines = authority.key.read_text().splitlines() if authority.key.exists() else []
    assert not [line for line in lines[1:-1] if line in told]


def test_a_key_that_everybody_can_read_is_told(authority: Authority, capsys: pytest.CaptureFixture[str]):
    authority.key.chmod(0o644)
    Certificate(files(authority))
    assert "everybody on this machine can read" in capsys.readouterr().err


def test_a_certificate_that_ends_soon_is_told(authority: Authority, caplog: pytest.LogCaptureFixture):
    authority.issue(days=5)
    Certificate(files(authority))
    assert "ends on" in caplog.text


def test_one_that_has_expired_meanwhile_does_not_take_the_place_of_the_other(
    authority: Authority, caplog: pytest.LogCaptureFixture
):
    now = datetime.datetime.now(datetime.UTC)
    certificate = Certificate(files(authority), now=lambda: now)
    now += datetime.timedelta(days=1000)
    certificate.reload()
    assert "the certificate of before stays in use" in caplog.text


async def test_a_change_of_the_files_is_noticed(authority: Authority, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    certificate = Certificate(files(authority))
    noticed = asyncio.Event()

    class Noticing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "new connections get" in record.getMessage():
                noticed.set()

    logging.getLogger("fluidmcp").addHandler(handler := Noticing())
    watching = asyncio.create_task(certificate.watch(0.01))
    try:
        authority.issue()
        async with asyncio.timeout(LIMIT_SECONDS):
            await noticed.wait()
    finally:
        watching.cancel()
        logging.getLogger("fluidmcp").removeHandler(handler)
