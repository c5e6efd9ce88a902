"""Certificates that cannot be used are told in one line; new ones are taken while it runs."""

import asyncio
import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from miss_protocol import frames as f
from miss_server.edge.certificate import Certificate, covers
from tests.server.cli.test_commands import run
from tests.support.certificates import Files
from tests.support.hosted import hosted
from tests.support.server import ServerProcess
from tests.support.waiting import until
from tests.support.wire import enrolled, now_ms, open_call

DAY = timedelta(days=1)
SOON = 30.0


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """A certificate that holds."""
    made = Files(tmp_path)
    made.write()
    return made


def served(server: ServerProcess) -> str:
    """The serial number of the certificate that a new connection gets."""
    url = urlsplit(server.url)
    assert url.hostname is not None
    assert url.port is not None
    return ssl.get_server_certificate((url.hostname, url.port))


def start(files: Files, *words: str) -> subprocess.CompletedProcess[str]:
    """A start that must fail."""
    database = files.folder / "miss.sqlite"
    done = run("serve", "--port", "0", "--database", str(database), *words, settings=files.settings)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 2, done.stderr
    assert not database.exists()
    return done


def now() -> datetime:
    return datetime.now(UTC)


def test_another_key_than_the_certificates(files: Files) -> None:
    other = Files(files.folder, files.authority)
    key = files.key.read_bytes()
    other.write()
    files.put(files.key, key)
    assert "is not the key of the certificate" in start(files).stderr


@pytest.mark.parametrize(
    ("begins", "ends", "said"),
    [(-9 * DAY, -DAY, "ended on"), (DAY, 9 * DAY, "begins on")],
)
def test_not_valid_now(files: Files, begins: timedelta, ends: timedelta, said: str) -> None:
    files.write(begins=now() + begins, ends=now() + ends)
    told = start(files).stderr
    assert said in told
    assert str(files.certificate) in told


@pytest.mark.parametrize("which", ["certificate", "key"])
def test_missing_or_no_pem(files: Files, which: str) -> None:
    path: Path = getattr(files, which)
    path.write_text("-----BEGIN NONSENSE-----")
    assert "PEM" in start(files).stderr
    path.unlink()
    assert f"{path} cannot be read: No such file" in start(files).stderr
    path.mkdir()
    assert f"{path} cannot be read: Is a directory" in start(files).stderr


def test_a_key_with_a_passphrase_is_not_asked_for(files: Files) -> None:
    key = load_pem_private_key(files.key.read_bytes(), None)
    shut = form.BestAvailableEncryption(b"secret")
    files.key.write_bytes(key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, shut))
    assert "has a passphrase" in start(files).stderr


def test_one_without_the_other(tmp_path: Path) -> None:
    done = run("config", "check", settings={"MISS_TLS_CERT": str(tmp_path / "x.pem")})
    assert done.returncode == 2
    assert "tls_cert and tls_key go together" in done.stderr


@pytest.mark.parametrize(
    ("names", "host", "covered"),
    [
        (("miss.example",), "miss.example", True),
        (("*.example",), "miss.example", True),
        (("*.example",), "a.miss.example", False),
        (("MISS.example",), "miss.example", True),
        ((), "miss.example", False),
    ],
)
def test_names(names: tuple[str, ...], host: str, covered: bool) -> None:
    assert covers(names, host) is covered


def test_a_bad_new_file_keeps_the_old_certificate(files: Files) -> None:
    held = Certificate(files.certificate, files.key, now_ms=now_ms())
    first = held.context
    held.look(now_ms())
    assert held.context is first
    good = files.key.read_bytes()
    files.put(files.key, b"nonsense")
    held.look(now_ms())
    assert held.context is first
    assert held.trouble is not None
    assert "PEM" in held.trouble
    files.key.unlink()
    held.look(now_ms())
    assert "No such file" in str(held.trouble)
    files.put(files.key, good)
    held.look(now_ms())
    assert held.trouble is None
    assert held.context is not first
    assert held.days_left(now_ms()) > 20
    assert held.loaded.names == ("miss.example", "127.0.0.1")


async def test_calls_and_sockets_over_tls_and_a_renewal_under_them(files: Files) -> None:
    server = ServerProcess(
        files.folder / "miss.sqlite", files.folder / "server.log", settings=files.settings
    )
    await server.start()
    assert server.url.startswith("https://")
    gp, nurse = await enrolled(server), await enrolled(server)
    async with gp.online() as line, nurse.online(f.JSON) as other:
        before = served(server)
        # A new kind of key, too: a context that held both would go on showing the old one.
        files.write(kind=trustme.KeyType.RSA)
        await until(lambda: served(server) != before)
        await line.settle(gp.send(nurse.person))
        [row] = await other.deliveries(1)
        assert row.device == gp.id
        # Wrong files change nothing, and SIGHUP looks at once.
        after = served(server)
        files.put(files.certificate, b"half a certif")
        assert server.process is not None
        server.process.send_signal(1)
        await until(lambda: "new certificate not used" in server.log_text())
        assert served(server) == after
        await until(lambda: "part='certificate'" in server.log_text())
        parts = (await open_call(server, "GET", "/health/ready")).json()["parts"]
        assert "the old one stays" in str(parts)
        assert str(files.folder) not in str(parts)
        await line.settle(gp.send(nurse.person))
        async with gp.online() as again:
            await again.ping()
    assert (await gp.call("GET", "/v1/prekeys")).status_code == 200
    assert await server.stop() == 0


async def test_what_tls_refuses(files: Files) -> None:
    async with hosted(files.folder, tls_cert=files.certificate, tls_key=files.key) as server:
        url = urlsplit(server.url)
        at = (url.hostname, url.port)
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.load_verify_locations(cadata=files.authority.cert_pem.bytes().decode())
        old.set_ciphers("ALL:@SECLEVEL=0")
        old.minimum_version = ssl.TLSVersion.TLSv1_2
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        _, writer = await asyncio.open_connection(*at, ssl=old, server_hostname="127.0.0.1")
        chosen = writer.get_extra_info("cipher")
        assert "ECDHE" in chosen[0]
        assert "GCM" in chosen[0] or "CHACHA20" in chosen[0]
        writer.close()
        old.set_ciphers("AES128-SHA:@SECLEVEL=0")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection(*at, ssl=old, server_hostname="127.0.0.1")
        # Plain HTTP to the port of TLS ends, and the server lives.
        reader, writer = await asyncio.open_connection(*at)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        async with asyncio.timeout(SOON):
            await reader.read()
        writer.close()
        assert (await open_call(server, "GET", "/health/live")).status_code == 200
        assert server.services.admission.strangers <= 1
