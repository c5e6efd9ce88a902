"""Runs the checks of an installation, one after the other; none can stop the others."""

from collections.abc import AsyncIterator, Sequence

from miss_server.findings import Check, Finding, bad
from miss_server.words import Both


async def examine(checks: Sequence[tuple[str, Check]]) -> AsyncIterator[Finding]:
    """Each check's findings as they come. The word before a check names it if it fails itself."""
    for subject, check in checks:
        try:
            found = await check()
        except Exception as error:  # noqa: BLE001  # told as a finding, with its cause
            why = f"{type(error).__name__}: {error}"
            found = [
                bad(
                    subject,
                    Both(f"could not be looked at ({why})", f"n'a pas pu être examiné ({why})"),
                    Both(
                        "Run it as the server's own user; if it goes on, send us this line.",
                        "Lancez-le sous l'utilisateur du serveur ; si cela persiste, envoyez-nous"
                        " cette ligne.",
                    ),
                )
            ]
        for finding in found:
            yield finding
