"""Of which day is what the directory says, in words."""

from collections.abc import Sequence
from datetime import UTC, date, datetime

from miss_client.words import tr
from miss_protocol.directory import Source


def line_of(sources: Sequence[Source], *, now_ms: int) -> str:
    """The sources, each with its date and age, as the server names them; empty if there is none."""
    told = ", ".join(_dated(one, now_ms) for one in sources)
    return told and tr(f"Directory: {told}", f"Annuaire : {told}")


def _dated(source: Source, now_ms: int) -> str:
    age, still = _age(source.date, now_ms), source.unchanged_since
    if still:
        age += tr(f", unchanged since {still}", f", inchangé depuis le {still}")
    return f"{source.name} {source.date} ({age})"


def _age(day: str, now_ms: int) -> str:
    try:
        days = (datetime.fromtimestamp(now_ms / 1000, UTC).date() - date.fromisoformat(day)).days
    except ValueError:
        return tr("of unknown age", "d'âge inconnu")
    if days < 1:  # a source's day may be ahead of this device's
        return tr("of today", "d'aujourd'hui")
    if days == 1:
        return tr("1 day old", "il y a 1 jour")
    return tr(f"{days} days old", f"il y a {days} jours")
