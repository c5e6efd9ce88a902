"""Asks the server of an installation, if it runs, how it does."""

import http.client
import json
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass

from miss_server.config import Settings
from miss_server.findings import Finding, bad, ok, warn
from miss_server.words import Both

PATIENCE = 5.0
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104  # asked, not bound
_MAX_FDS = re.compile(r"^process_max_fds (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Running:
    """What a server told. `max_files`: how many files it may have open, if it tells us."""

    findings: Sequence[Finding]
    max_files: int | None = None


def ask(settings: Settings, *, locked: bool) -> Running:
    """Ask the server at the address of the settings.

    Args:
        locked: some server holds the database.
    """
    try:
        _, ready = _get(settings, settings.host, settings.port, "/health/ready")
        document = json.loads(ready)
    except ConnectionRefusedError:
        if locked:
            return Running([_elsewhere(settings, "connection refused")])
        return Running([ok("server", "does not run", "ne fonctionne pas")])
    except (OSError, http.client.HTTPException, ValueError) as error:
        return Running([_elsewhere(settings, f"{type(error).__name__}: {error}")])
    return Running(_told(document), _max_files(settings))


def _max_files(settings: Settings) -> int | None:
    own = settings.metrics_port
    host, port = (settings.host, settings.port) if own is None else (settings.metrics_host, own)
    try:
        status, metrics = _get(settings, host, port, "/metrics", plain=own is not None)
    except (OSError, http.client.HTTPException):
        return None
    found = _MAX_FDS.search(metrics.decode(errors="replace")) if status == 200 else None
    return int(float(found.group(1))) if found else None


def _elsewhere(settings: Settings, why: str) -> Finding:
    return warn(
        "server",
        Both(
            f"cannot be asked at {settings.host} port {settings.port} ({why})",
            f"ne répond pas sur {settings.host} port {settings.port} ({why})",
        ),
        Both(
            "Give this command the settings of the service (MISS_HOST, MISS_PORT, MISS_TLS_CERT).",
            "Donnez à cette commande les réglages du service (MISS_HOST, MISS_PORT, MISS_TLS_CERT).",
        ),
    )


def _told(document: dict[str, object]) -> Sequence[Finding]:
    findings: list[Finding] = []
    parts = document.get("parts")
    for part in parts if isinstance(parts, list) else ():
        if part["state"] == "ok":
            continue
        text = Both(part["text"]["en"], part["text"]["fr"])
        do = Both(
            f"So since {part['since']}; see its log.", f"Depuis {part['since']} ; voir son journal."
        )
        make = bad if part["vital"] else warn
        findings.append(make(f"server: {part['part']}", text, do))
    return findings or [ok("server", "runs and is ready", "fonctionne et est prêt")]


def _get(
    settings: Settings, host: str, port: int, path: str, *, plain: bool = False
) -> tuple[int, bytes]:
    host = _EVERYWHERE.get(host, host)
    connection: http.client.HTTPConnection
    if plain or settings.tls_cert is None:
        connection = http.client.HTTPConnection(host, port, timeout=PATIENCE)
    else:
        # It is this machine's own server; whether its certificate is right is another check's.
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection(host, port, timeout=PATIENCE, context=context)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
