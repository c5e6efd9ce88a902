"""Checks of the machine that a server runs on: its disk, its clock, its limits."""

import asyncio
import ctypes
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from miss_server.edge.open_files import KEPT_BACK
from miss_server.findings import Finding, bad, ok, warn
from miss_server.operating.watching import DISK_LOW_BYTES, DISK_LOW_SHARE
from miss_server.words import Both

FSYNCS = 30
FSYNC_SLOW_MS = 25.0
"""Every `sent` waits for one: beyond, people feel it."""
FSYNC_UNLIKELY_MS = 0.03
"""No disk is so quick, nor a battery-backed controller: something says yes before it has written."""
NOT_SYNCHRONISED = 5
"""TIME_ERROR of adjtimex(2)."""

_MEMORY = frozenset({"tmpfs", "ramfs"})
_NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "fuse.glusterfs", "ceph"})


class Disk:
    """The disk of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def room(self) -> Sequence[Finding]:
        """Free space."""
        folder = self._folder.absolute()
        # A node makes its folder when it first starts.
        there = next(each for each in (folder, *folder.parents) if each.exists())
        usage = shutil.disk_usage(there)
        return [judge_room(usage.free, usage.total)]

    async def kind(self) -> Sequence[Finding]:
        """What sort of file system it is."""
        kind = file_system(self._folder)
        if kind in _MEMORY:
            return [
                bad(
                    "file system",
                    Both(f"{kind} is memory", f"{kind} est de la mémoire"),
                    Both("Put the database on a disk.", "Mettez la base sur un disque."),
                )
            ]
        if kind in _NETWORK:
            return [
                bad(
                    "file system",
                    Both(f"{kind} is another machine's", f"{kind} est sur une autre machine"),
                    Both(
                        "SQLite's locks do not hold there: use a local disk, or PostgreSQL.",
                        "Les verrous de SQLite n'y tiennent pas : disque local, ou PostgreSQL.",
                    ),
                )
            ]
        if kind == "overlay":
            return [
                warn(
                    "file system",
                    Both(
                        "the database is in a container's own layer",
                        "la base est dans la couche propre d'un conteneur",
                    ),
                    Both(
                        "It is gone with the container: mount a volume for it.",
                        "Elle disparaît avec le conteneur : montez un volume.",
                    ),
                )
            ]
        return [ok("file system", kind or "unknown", kind or "inconnu")]

    async def fsync(self) -> Sequence[Finding]:
        """How long the disk takes to keep something, and whether that can be true."""
        return [judge_fsync(await asyncio.to_thread(fsync_ms, self._folder))]


def judge_room(free: int, total: int) -> Finding:
    """What is to be said of so many free bytes."""
    share = free / total
    text = Both(
        f"{free >> 20} MiB free of {total >> 20} ({share:.0%})",
        f"{free >> 20} Mio libres sur {total >> 20} ({share:.0%})",
    )
    do = Both(
        "Free space or get a larger disk: when it is full nothing can be sent.",
        "Libérez de la place ou agrandissez le disque : plein, plus rien ne peut être envoyé.",
    )
    if free < DISK_LOW_BYTES // 8:
        return bad("disk", text, do)
    if free < DISK_LOW_BYTES and share < DISK_LOW_SHARE:
        return warn("disk", text, do)
    return ok("disk", *text)


def judge_fsync(took: float) -> Finding:
    """What is to be said of a disk that takes so many milliseconds to keep something."""
    text = Both(
        f"{took:.2f} ms to keep 4 KiB (median of {FSYNCS})",
        f"{took:.2f} ms pour garder 4 Kio (médiane de {FSYNCS})",
    )
    if took < FSYNC_UNLIKELY_MS:
        return warn(
            "fsync",
            text,
            Both(
                "No disk is so quick: it may say yes before it has written. A power cut then"
                " loses what was called sent. Turn its write cache off (hdparm -W0), or"
                " have the host pass flushes on.",
                "Aucun disque n'est si rapide : il répond peut-être avant d'avoir écrit. Une"
                " coupure perdrait alors ce qui était dit envoyé. Coupez son cache"
                " d'écriture (hdparm -W0) ou faites transmettre les flush par l'hôte.",
            ),
        )
    if took > FSYNC_SLOW_MS:
        return warn(
            "fsync",
            text,
            Both(
                "Every message waits for it: use a disk with power-loss protection.",
                "Chaque message l'attend : prenez un disque protégé contre les coupures.",
            ),
        )
    return ok("fsync", *text)


def fsync_ms(folder: Path) -> float:
    """The median time of a small write and its fsync, in milliseconds.

    Raises:
        OSError: the folder cannot be written to.
    """
    took: list[float] = []
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as file:
        for number in range(FSYNCS):
            os.pwrite(file.fileno(), os.urandom(4096), number * 4096)
            begun = time.perf_counter()
            os.fsync(file.fileno())
            took.append((time.perf_counter() - begun) * 1000)
    return median(took)


def file_system(folder: Path) -> str:
    """The type of the file system of a folder, empty if the system does not tell."""
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return ""
    real, best, kind = folder.resolve(), -1, ""
    for line in lines:
        before, _, after = line.partition(" - ")
        mounted = Path(before.split()[4].replace("\\040", " "))
        if real.is_relative_to(mounted) and len(mounted.parts) >= best:
            best, kind = len(mounted.parts), after.split()[0]
    return kind


async def clock() -> Sequence[Finding]:
    """Whether something keeps the machine's clock right."""
    buffer = ctypes.create_string_buffer(512)  # struct timex, with modes 0: nothing is set
    try:
        told = ctypes.CDLL(None, use_errno=True).adjtimex(buffer)
    except (OSError, AttributeError):
        told = -1
    return [judge_clock(told)]


def judge_clock(told: int) -> Finding:
    """What is to be said of what adjtimex(2) returned."""
    if told == -1:
        return ok("clock", "this system does not tell", "ce système ne le dit pas")
    if told == NOT_SYNCHRONISED:
        return warn(
            "clock",
            Both("nothing keeps the clock right", "rien ne met l'horloge à l'heure"),
            Both(
                "Run chrony or systemd-timesyncd: signed requests allow five minutes.",
                "Lancez chrony ou systemd-timesyncd : les demandes signées tolèrent cinq minutes.",
            ),
        )
    return ok("clock", "synchronised", "synchronisée")


def open_files(allowed: int, connections: int, *, of_server: bool) -> Sequence[Finding]:
    """Whether as many connections as the settings allow fit into the limit of open files."""
    where = Both(
        "the running server's" if of_server else "this shell's, a service may have another",
        "celle du serveur"
        if of_server
        else "celle de ce terminal, un service peut en avoir une autre",
    )
    text = Both(f"{allowed} open files ({where.en})", f"{allowed} fichiers ouverts ({where.fr})")
    if allowed < connections + KEPT_BACK:
        return [
            warn(
                "open files",
                text,
                Both(
                    f"For {connections} connections allow {connections + KEPT_BACK}: LimitNOFILE= of"
                    " systemd, or ulimit -n.",
                    f"Pour {connections} connexions, permettez {connections + KEPT_BACK} :"
                    " LimitNOFILE= de systemd, ou ulimit -n.",
                ),
            )
        ]
    return [ok("open files", *text)]


def permissions(private: Sequence[Path], folder: Path) -> Sequence[Finding]:
    """Whether others can read what is private, or write where it is."""
    findings: list[Finding] = []
    for path in private:
        try:
            mode = path.stat().st_mode
        except FileNotFoundError:
            continue
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            findings.append(
                bad(
                    "permissions",
                    Both(f"others can read {path}", f"d'autres peuvent lire {path}"),
                    Both(f"chmod 600 {path}", f"chmod 600 {path}"),
                )
            )
    mode = folder.stat().st_mode
    if mode & (stat.S_IWGRP | stat.S_IWOTH) and not mode & stat.S_ISVTX:
        findings.append(
            warn(
                "permissions",
                Both(f"others can write into {folder}", f"d'autres peuvent écrire dans {folder}"),
                Both(f"chmod go-w {folder}", f"chmod go-w {folder}"),
            )
        )
    return findings or [
        ok("permissions", "only the owner reads the files", "seul le propriétaire lit les fichiers")
    ]
