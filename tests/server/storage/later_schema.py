"""Steps that no version has yet, in real files, for tests of what the next version will do."""

from pathlib import Path

from miss_server.storage import migrating

_STEP = """
import sqlalchemy as sa
from alembic import op

revision = "{revision:04}"
down_revision = "{before:04}"


def upgrade() -> None:
    op.add_column("devices", sa.Column("nickname", sa.String, nullable=False, server_default="-"))
    op.create_index("devices_nickname", "devices", ["nickname"])
    {then}
"""


def later_steps(folder: Path, *, then: str = "") -> tuple[Path, ...]:
    """This version's steps and one more; `then` is a last statement of it."""
    before = migrating.last()
    (folder / "later.py").write_text(_STEP.format(revision=before + 1, before=before, then=then))
    return (*migrating.STEPS, folder)
