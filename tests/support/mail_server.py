"""A mail server as a process of its own: keeps what it accepts as files, and misbehaves by address.

    python -m tests.support.mail_server FOLDER [--starttls|--tls] [--certificate C --key K]
        [--user U --password P]

It tells its port on the first line. Recipients that begin with `refused` are refused, with one that
begins with `broken` it ends in the middle of the message; a sender that begins with `unwanted` is refused.
"""

import argparse
import asyncio
import os
import ssl
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword


class Keeping:
    """What becomes of a message."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def handle_MAIL(  # the library's name
        self, server: SMTP, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        if address.startswith("unwanted"):
            return "550 no mail from you"
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(  # the library's name
        self, server: SMTP, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        if address.startswith("refused"):
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Any) -> str:
        [address] = envelope.rcpt_tos
        if address.startswith("broken"):
            os._exit(0)
        transport = server.transport
        assert transport is not None
        secure = "tls" if transport.get_extra_info("ssl_object") is not None else "plain"
        (self._folder / f"{address}.{secure}.eml").write_bytes(envelope.content)
        return "250 kept"


async def serve(words: argparse.Namespace) -> None:
    """Serve until the process is ended."""
    context: ssl.SSLContext | None = None
    if words.certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(words.certificate, words.key)

    def authenticate(
        server: SMTP, session: Any, envelope: Any, mechanism: str, data: LoginPassword
    ) -> AuthResult:
        given = (data.login.decode(), data.password.decode())
        return AuthResult(success=given == (words.user, words.password), handled=False)

    def protocol() -> SMTP:
        return SMTP(
            Keeping(words.folder),
            hostname="mail.example",
            tls_context=context if words.starttls else None,
            authenticator=authenticate,
            auth_required=words.user is not None,
            auth_require_tls=words.starttls,
        )

    server = await asyncio.get_running_loop().create_server(
        protocol, "127.0.0.1", 0, ssl=context if words.tls else None
    )
    os.write(1, f"{server.sockets[0].getsockname()[1]}\n".encode())
    await server.serve_forever()


def main() -> None:
    """Read the words of the command line and serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--starttls", action="store_true")
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--certificate", type=Path)
    parser.add_argument("--key", type=Path)
    parser.add_argument("--user")
    parser.add_argument("--password")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
