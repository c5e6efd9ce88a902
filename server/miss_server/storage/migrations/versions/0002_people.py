"""People who meet: what the second schema adds, one function a subject."""

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Only adds, so that a server of the version before goes on beside it."""
