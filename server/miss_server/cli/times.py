"""Times as commands show them."""

from datetime import UTC, datetime


def time_of(ms: int) -> str:
    """`YYYY-MM-DD HH:MM`, UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")
