"""The server's own certificate: checked at start, and read anew when its files change.

New connections get the new certificate; those that live keep what they have. A new file that cannot
be used changes nothing: the old certificate stays, and `trouble` says why until that is mended.
"""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from miss_server.refusals import Refusal
from miss_server.words import Both

if TYPE_CHECKING:
    from cryptography import x509

SOON_DAYS = 14
"""A certificate that ends within so many days should have been renewed: renewals come at 30."""

log = structlog.get_logger()


class CertificateError(Refusal):
    """The certificate cannot be used; the text says why and what to change."""

    do = Both("See --tls-cert and --tls-key.", "Voir --tls-cert et --tls-key.")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A certificate in use.

    Attributes:
        context: for the server's side of new connections.
        names: the host names and addresses that it is for.
        ends: the end of its validity.
    """

    context: ssl.SSLContext
    names: tuple[str, ...]
    ends: datetime


def load(certificate: Path, key: Path, *, now_ms: int) -> Loaded:
    """Read a certificate with its chain, and its key; both are PEM files.

    Raises:
        CertificateError: unreadable, not PEM, not of each other, not valid now, with a passphrase.
    """
    ends, names = _described(certificate, now_ms)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # OpenSSL's defaults with PROTOCOL_TLS_SERVER are those of the distribution's security level:
    # no compression, forward secrecy preferred. Old protocols are refused whatever it says.
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    context.set_alpn_protocols(["http/1.1"])
    try:
        key.open("rb").close()  # else OpenSSL's error names no file
        context.load_cert_chain(certificate, key, password=_no_passphrase)
    except OSError as error:
        if isinstance(error, ssl.SSLError):
            raise CertificateError(_why(error, certificate, key)) from error
        raise CertificateError(f"{key} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise CertificateError(
            f"the key {key} has a passphrase: take it off (openssl pkey) or name another file"
        ) from error
    return Loaded(context, names, ends)


class Certificate:
    """The certificate that new connections get. Call `look` every few seconds.

    Args:
        certificate, key: PEM files; the certificate's holds its chain, too.
        now_ms: for the check of validity.

    Raises:
        CertificateError: as `load`.
    """

    def __init__(self, certificate: Path, key: Path, *, now_ms: int) -> None:
        self._files = (certificate, key)
        self._seen = self._stamp()
        self.loaded = load(certificate, key, now_ms=now_ms)
        self.trouble: str | None = None
        """Why the files, as they are now, are not used; None if they are."""

    @property
    def context(self) -> ssl.SSLContext:
        """For the next connection."""
        return self.loaded.context

    def look(self, now_ms: int, *, force: bool = False) -> None:
        """Read the files anew if they changed, or if `force`."""
        stamp = self._stamp()
        if stamp == self._seen and not force:
            return
        self._seen = stamp
        try:
            self.loaded = load(*self._files, now_ms=now_ms)
        except CertificateError as error:
            # The two files are seldom written at the same moment, so this may mend itself soon.
            self.trouble = str(error)
            log.warning("new certificate not used, the old one stays", reason=str(error))
            return
        self.trouble = None
        log.info("certificate read", names=self.loaded.names, ends=self.loaded.ends.isoformat())

    def days_left(self, now_ms: int) -> float:
        """Days until the certificate in use ends; negative afterwards."""
        return (self.loaded.ends - _moment(now_ms)).total_seconds() / 86_400

    def _stamp(self) -> tuple[Any, ...]:
        """What changes when a file is written, replaced, or a link is turned to another one."""
        stamps: list[tuple[int, int, int] | None] = []
        for path in self._files:
            try:
                status = path.stat()
            except OSError:
                stamps.append(None)
            else:
                stamps.append((status.st_ino, status.st_mtime_ns, status.st_size))
        return tuple(stamps)


def _described(path: Path, now_ms: int) -> tuple[datetime, tuple[str, ...]]:
    from cryptography import x509  # a server behind a proxy never needs it

    try:
        chain = x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise CertificateError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise CertificateError(
            f"{path} is no certificate in PEM form: name the full chain, as fullchain.pem"
        ) from error
    first, now = chain[0], _moment(now_ms)
    if first.not_valid_after_utc <= now:
        raise CertificateError(
            f"the certificate {path} ended on {first.not_valid_after_utc:%Y-%m-%d}: renew it"
        )
    if first.not_valid_before_utc > now:
        raise CertificateError(
            f"the certificate {path} begins on {first.not_valid_before_utc:%Y-%m-%d}:"
            " set this machine's clock, or wait"
        )
    return first.not_valid_after_utc, _names(first)


def _names(certificate: "x509.Certificate") -> tuple[str, ...]:
    from cryptography import x509

    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    names = extension.value
    addresses = names.get_values_for_type(x509.IPAddress)
    return (*names.get_values_for_type(x509.DNSName), *map(str, addresses))


def covers(names: tuple[str, ...], host: str) -> bool:
    """Whether a certificate with these names is for a host; `*` stands for one label."""
    wild = "*." + host.partition(".")[2]
    return any(name.lower() in (host, wild) for name in names)


def _why(error: ssl.SSLError, certificate: Path, key: Path) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"the key {key} is not the key of the certificate {certificate}: name its own"
    if error.reason in ("EE_KEY_TOO_SMALL", "CA_MD_TOO_WEAK"):
        return f"the certificate {certificate} is too weak for this system: make a new one"
    return f"{key} is no private key in PEM form, or does not go with {certificate}"


def _no_passphrase() -> bytes:
    # Without this OpenSSL would ask at the terminal, and a service would wait for ever.
    raise ValueError("a passphrase")


def _moment(now_ms: int) -> datetime:
    return datetime.fromtimestamp(now_ms / 1000, UTC)
