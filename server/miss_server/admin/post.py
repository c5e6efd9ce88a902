"""Hands letters to a mail server, over TLS, with the standard library's SMTP (RFC 5321, RFC 3207)."""

import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from miss_server.admin.invitations import Written

SECONDS = 30.0
"""For each answer of the mail server."""
PORTS = {"smtp": 587, "smtps": 465}


class PostError(Exception):
    """The mail server cannot be used; nothing was sent since the last letter that went."""


class NotAccepted(Exception):
    """The mail server refused this letter: it was not sent."""


class Uncertain(PostError):
    """The connection broke off in the middle of a letter: nobody knows whether it went."""


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where letters are handed in. `url` is `smtp://host:587` (STARTTLS) or `smtps://host:465`."""

    url: str
    sender: str
    user: str = ""
    password: str = ""
    authority: Path | None = None


class Post:
    """An open connection to a mail server."""

    def __init__(self, connection: smtplib.SMTP, sender: str) -> None:
        self._connection = connection
        self._sender = sender

    def send(self, letter: Written) -> None:
        """Hand one letter in; it is sent when this returns.

        Raises:
            NotAccepted: it was refused, and others may go.
            Uncertain: the connection broke off.
            PostError: the sender is refused, and so would be all others.
        """
        try:
            self._connection.send_message(self._message(letter))
        except smtplib.SMTPSenderRefused as error:
            raise PostError(_told(error)) from None
        except (smtplib.SMTPRecipientsRefused, smtplib.SMTPResponseException) as error:
            raise NotAccepted(_told(error)) from None
        except (smtplib.SMTPException, OSError) as error:
            raise Uncertain(_told(error)) from None

    def _message(self, letter: Written) -> EmailMessage:
        message = EmailMessage()
        message["From"] = self._sender
        message["To"] = letter.mailbox
        message["Subject"] = letter.subject
        message["Date"] = formatdate()
        message["Message-ID"] = make_msgid(domain=self._sender.rpartition("@")[2])
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday notice comes back
        message.set_content(letter.text)
        return message


@contextmanager
def connected(server: MailServer) -> Iterator[Post]:
    """Connect and sign in, until the block ends.

    Raises:
        PostError: the address is none, TLS is not to be had, or the server refuses.
    """
    host, port, scheme = _place(server.url)
    try:
        trust = ssl.create_default_context(cafile=server.authority)
    except OSError as error:
        raise PostError(f"{server.authority}: {error.strerror or error}") from None
    try:
        if scheme == "smtps":
            opened: smtplib.SMTP = smtplib.SMTP_SSL(host, port, timeout=SECONDS, context=trust)
        else:
            opened = smtplib.SMTP(host, port, timeout=SECONDS)
    except (smtplib.SMTPException, OSError) as error:
        raise PostError(_told(error)) from None
    try:
        if scheme == "smtp":
            _secure(opened, trust, host)
        if server.user:
            opened.login(server.user, server.password)
    except (smtplib.SMTPException, OSError) as error:
        opened.close()
        raise PostError(_told(error)) from None
    try:
        yield Post(opened, server.sender)
    finally:
        # What was accepted is the mail server's: a farewell that fails changes nothing.
        try:
            opened.quit()
        except (smtplib.SMTPException, OSError):
            opened.close()


def _secure(opened: smtplib.SMTP, trust: ssl.SSLContext, host: str) -> None:
    opened.ehlo_or_helo_if_needed()
    if opened.has_extn("starttls"):
        opened.starttls(context=trust)
    elif not _is_here(host):
        # Else whoever is on the way could take the offer away, and read the names.
        raise smtplib.SMTPNotSupportedError("it offers no TLS")


def _place(url: str) -> tuple[str, int, str]:
    parts = urlsplit(url)
    try:
        port = parts.port or PORTS[parts.scheme]
    except (KeyError, ValueError):
        raise PostError(f"{url} is not smtp://host:587 or smtps://host:465") from None
    if not parts.hostname or parts.path.strip("/") or parts.username is not None:
        raise PostError(f"{url} is not smtp://host:587 or smtps://host:465")
    return parts.hostname, port, parts.scheme


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _told(error: Exception) -> str:
    said: bytes | str
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        [(code, said)] = error.recipients.values()
    elif isinstance(error, smtplib.SMTPResponseException):
        code, said = error.smtp_code, error.smtp_error
    else:
        return str(error) or type(error).__name__
    return f"{code} {said.decode(errors='replace') if isinstance(said, bytes) else said}"
