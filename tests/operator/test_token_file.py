"""The token file: its form, its permissions, what is refused, and what counts as no login."""

import asyncio
import json
import os
import stat
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluidmcp.config.secret import Secret
from fluidmcp.errors import ConfigurationError
from fluidmcp.operator.token_file import (
    MAX_FILE_BYTES,
    StoredLogin,
    TokenFile,
    find_token_file,
    parse_login,
    render_login,
)

LOGIN = StoredLogin(
    access_token=Secret("at-canary"),
    refresh_token=Secret("rt-canary"),
    expires_at=1_800_000_000.0,
    obtained_at=1_799_996_400.0,
    scope="openid email",
    token_endpoint="https://provider.example/token",
    client_id="client",
    issuer="https://provider.example",
    subject="alice",
    email="alice@example.org",
)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def as_text(login: StoredLogin | None) -> bytes:
    assert login is not None
    return render_login(login)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def token_file(home: Path) -> TokenFile:
    return TokenFile(home)


@pytest.mark.promise(16, 30, 31, 32, 33)
def test_the_file_is_where_it_is_promised_and_holds_the_promised_fields(home: Path) -> None:
    token_file = find_token_file({"HOME": str(home)})
    token_file.save(LOGIN)
    document = json.loads((home / ".fluidmcp" / "oauth" / "tokens.json").read_text())
    assert document["access_token"] == "at-canary"
    assert document["refresh_token"] == "rt-canary"
    assert document["expires_at"] == "2027-01-15T08:00:00+00:00"
    assert as_text(token_file.load()) == render_login(LOGIN)


@pytest.mark.promise(32, 33)
def test_the_promised_fields_are_there_when_the_provider_gave_no_value() -> None:
    document = json.loads(render_login(StoredLogin(access_token=Secret("a"))))
    assert document == {"access_token": "a", "refresh_token": None, "expires_at": None}


@pytest.mark.promise(33)
def test_a_naive_time_of_an_old_file_is_local_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        login = parse_login(b'{"access_token": "a", "refresh_token": "r", "expires_at": "2027-01-15T13:30:00"}')
    finally:
        monkeypatch.undo()
        time.tzset()
    assert login is not None
    assert login.expires_at == datetime(2027, 1, 15, 8, 0, tzinfo=UTC).timestamp()


@pytest.mark.promise(34, 35, 40)
@pytest.mark.threat("C08")
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_c08_directory_and_file_are_private_whatever_the_umask(token_file: TokenFile, umask: int) -> None:
    before = os.umask(umask)
    try:
        token_file.save(LOGIN)
        token_file.save(LOGIN)
    finally:
        os.umask(before)
    assert mode_of(token_file.path) == 0o600
    assert mode_of(token_file.path.parent) == 0o700


@pytest.mark.threat("C08")
def test_c08_the_file_is_private_from_its_first_byte(token_file: TokenFile) -> None:
    """strace would show it best; here another process watches every file of the directory while it is written."""
    token_file.save(LOGIN)
    folder = token_file.path.parent
    watch = (
        "import os, sys, time\n"
        "folder, seen = sys.argv[1], set()\n"
        "print('ready', flush=True)\n"
        "end = time.monotonic() + 60\n"
        "while time.monotonic() < end and not os.path.exists(folder + '/stop'):\n"
        "    for name in os.listdir(folder):\n"
        "        try: seen.add(oct(os.stat(folder + '/' + name).st_mode & 0o777))\n"
        "        except OSError: pass\n"
        "print(*sorted(seen))\n"
    )
    with subprocess.Popen([sys.executable, "-c", watch, str(folder)], stdout=subprocess.PIPE, text=True) as watcher:
        assert watcher.stdout is not None
        assert watcher.stdout.readline() == "ready\n"
        before = os.umask(0)
        try:
            for _ in range(200):
                token_file.save(LOGIN)
        finally:
            os.umask(before)
        descriptor = os.open(folder / "stop", os.O_CREAT | os.O_WRONLY, 0o600)
        os.close(descriptor)
        assert watcher.stdout.read().split() == ["0o600"]


@pytest.mark.threat("C08")
def test_c08_a_file_that_others_could_read_is_made_private(token_file: TokenFile) -> None:
    token_file.save(LOGIN)
    token_file.path.chmod(0o644)
    assert token_file.load() is not None
    assert mode_of(token_file.path) == 0o600


@pytest.mark.threat("C08")
def test_c08_a_directory_that_others_could_list_is_made_private(token_file: TokenFile) -> None:
    token_file.save(LOGIN)
    token_file.path.parent.chmod(0o755)
    token_file.load()
    assert mode_of(token_file.path.parent) == 0o700


@pytest.mark.threat("C08")
@pytest.mark.parametrize("mode", [0o660, 0o602])
def test_c08_a_file_that_others_could_change_is_refused(token_file: TokenFile, mode: int) -> None:
    token_file.save(LOGIN)
    token_file.path.chmod(mode)
    with pytest.raises(ConfigurationError):
        token_file.load()


@pytest.mark.threat("C08")
@pytest.mark.parametrize("above", [0, 1])
@pytest.mark.parametrize("mode", [0o777, 0o770])
def test_c08_a_directory_that_others_could_change_is_refused(token_file: TokenFile, above: int, mode: int) -> None:
    token_file.save(LOGIN)
    token_file.path.parents[above].chmod(mode)
    for call in (token_file.load, lambda: token_file.save(LOGIN), token_file.remove):
        with pytest.raises(ConfigurationError) as caught:
            call()
        assert "chmod" in caught.value.hint


@pytest.mark.threat("C08")
def test_c08_a_link_in_place_of_the_file_is_not_followed(token_file: TokenFile, tmp_path: Path) -> None:
    token_file.save(LOGIN)
    elsewhere = tmp_path / "elsewhere.json"
    elsewhere.write_bytes(render_login(LOGIN))
    token_file.path.unlink()
    token_file.path.symlink_to(elsewhere)
    with pytest.raises(ConfigurationError):
        token_file.load()
    token_file.save(LOGIN)
    assert not token_file.path.is_symlink()
    token_file.path.unlink()
    token_file.path.symlink_to(elsewhere)
    assert token_file.remove()
    assert elsewhere.read_bytes() == render_login(LOGIN)


@pytest.mark.threat("C08")
@pytest.mark.parametrize("name", [".fluidmcp", ".fluidmcp/oauth"])
async def test_c08_a_link_in_place_of_a_directory_is_refused(
    token_file: TokenFile, home: Path, tmp_path: Path, name: str
) -> None:
    with tempfile.TemporaryDirectory() as elsewhere:
        (home / name).parent.mkdir(exist_ok=True)
        (home / name).symlink_to(elsewhere)
        for call in (token_file.load, lambda: token_file.save(LOGIN), token_file.remove):
            with pytest.raises(ConfigurationError):
                call()
        with pytest.raises(ConfigurationError):
            async with token_file.locked():
                pass
        assert os.listdir(elsewhere) == []


@pytest.mark.threat("C08")
async def test_c08_a_link_in_place_of_the_lock_is_refused(token_file: TokenFile, tmp_path: Path) -> None:
    token_file.save(LOGIN)
    token_file.path.with_name("tokens.lock").symlink_to(tmp_path / "made")
    with pytest.raises(ConfigurationError):
        async with token_file.locked():
            pass
    assert not (tmp_path / "made").exists()


@pytest.mark.threat("C08")
def test_c08_what_belongs_to_somebody_else_is_refused(home: Path) -> None:
    """Seen from the other side: everything here belongs to somebody else than the asking user."""
    TokenFile(home).save(LOGIN)
    stranger = TokenFile(home, user_id=os.geteuid() + 1)
    for call in (stranger.load, lambda: stranger.save(LOGIN), stranger.remove):
        with pytest.raises(ConfigurationError) as caught:
            call()
        assert "another user" in caught.value.why


@pytest.mark.threat("C08")
def test_c08_a_pipe_in_place_of_the_file_does_not_hang(token_file: TokenFile) -> None:
    token_file.save(LOGIN)
    token_file.path.unlink()
    os.mkfifo(token_file.path, 0o600)
    with pytest.raises(ConfigurationError):
        token_file.load()


def put(token_file: TokenFile, content: bytes) -> None:
    token_file.save(LOGIN)
    token_file.path.write_bytes(content)


BROKEN = {
    "empty": b"",
    "half": render_login(LOGIN)[:60],
    "array": b"[]",
    "number": b"7",
    "mark": b"\xef\xbb\xbf" + render_login(LOGIN),
    "not text": b"\xff\xfe\x00",
    "no token": b"{}",
    "token of another type": b'{"access_token": 7}',
    "token with a line end": b'{"access_token": "a\\nb"}',
    "empty token": b'{"access_token": ""}',
    "refresh token of another type": b'{"access_token": "a", "refresh_token": []}',
    "a number of seconds": b'{"access_token": "a", "expires_at": 1800000000}',
    "no date": b'{"access_token": "a", "expires_at": "soon"}',
    "year 1, local time": b'{"access_token": "a", "expires_at": "0001-01-01T00:00:00"}',
    "deep": b"[" * 20_000,
    "terminal sequence": b'{"access_token": "a", "email": "\\u001b[31m"}',
}


@pytest.mark.threat("C09")
@pytest.mark.parametrize("kind", sorted(BROKEN))
def test_c09_content_that_is_no_login_counts_as_none_and_stays(token_file: TokenFile, kind: str) -> None:
    put(token_file, BROKEN[kind])
    assert token_file.load() is None
    assert token_file.path.read_bytes() == BROKEN[kind]


@pytest.mark.threat("C09")
def test_c09_a_huge_file_is_not_read(token_file: TokenFile) -> None:
    put(token_file, b"")
    with token_file.path.open("r+b") as stream:
        stream.truncate(1 << 30)
    assert token_file.load() is None
    assert token_file.path.stat().st_size == 1 << 30
    token_file.save(LOGIN)
    assert token_file.path.stat().st_size < MAX_FILE_BYTES


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
fields = st.sampled_from(["access_token", "refresh_token", "expires_at", "obtained_at", "scope", "subject", "x"])


@pytest.mark.threat("C09")
@given(st.binary(max_size=200) | st.dictionaries(fields, json_values).map(lambda value: json.dumps(value).encode()))
def test_c09_no_content_raises(content: bytes) -> None:
    login = parse_login(content)
    if login is not None:
        render_login(login)


texts = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x2FF), min_size=1, max_size=30).filter(str.isprintable)
tokens = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=200)
times = st.datetimes(datetime(1970, 1, 2), datetime(9000, 1, 1)).map(lambda when: when.replace(tzinfo=UTC).timestamp())


@given(
    tokens,
    st.none() | tokens,
    st.none() | times,
    st.none() | texts,
    st.booleans(),
    st.none() | times,
    st.none() | texts,
)
def test_what_is_written_is_what_is_read(
    access: str,
    refresh: str | None,
    ends: float | None,
    text: str | None,
    refused: bool,
    began: float | None,
    email: str | None,
) -> None:
    login = StoredLogin(
        access_token=Secret(access),
        refresh_token=None if refresh is None else Secret(refresh),
        expires_at=ends,
        obtained_at=began,
        scope=text,
        subject=text,
        email=email,
        is_refresh_refused=refused,
    )
    read = parse_login(render_login(login))
    assert render_login(login) == as_text(read)


def test_what_a_killed_writer_left_goes_with_the_next_write_and_with_the_logout(token_file: TokenFile) -> None:
    token_file.save(LOGIN)
    left = token_file.path.with_name(".tokens-0123456789abcdef.tmp")
    for clean in (lambda: token_file.save(LOGIN), token_file.remove):
        left.write_text("at-canary")
        clean()
        assert not left.exists()
    assert not token_file.path.exists()
    assert not token_file.remove()


def test_the_change_mark_differs_after_each_change(token_file: TokenFile) -> None:
    assert token_file.change_mark() is None
    marks: set[object] = set()
    for _ in range(20):
        token_file.save(LOGIN)
        marks.add(token_file.change_mark())
    assert len(marks) == 20


HOLD_THE_LOCK = """
import asyncio, sys
from pathlib import Path
from fluidmcp.operator.token_file import TokenFile

async def hold():
    async with TokenFile(Path(sys.argv[1])).locked():
        print("held", flush=True)
        await asyncio.Event().wait()

asyncio.run(hold())
"""


async def test_the_lock_is_held_by_one_and_freed_when_its_process_is_killed(token_file: TokenFile) -> None:
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLD_THE_LOCK, str(token_file.path.parents[2]), stdout=asyncio.subprocess.PIPE
    )
    assert holder.stdout is not None
    assert await holder.stdout.readline() == b"held\n"
    with pytest.raises(TimeoutError):
        async with token_file.locked(wait_seconds=0.2):
            pass
    holder.kill()
    async with token_file.locked(wait_seconds=60):
        pass
    await holder.wait()


def test_without_a_home_the_user_database_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_token_file({}).path.is_absolute()
    assert find_token_file({"HOME": "relative"}).path == find_token_file({}).path


def test_a_home_that_is_not_there_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        TokenFile(tmp_path / "missing").load()
