"""The limits fit each other, and each is used or promised somewhere."""

import re
from pathlib import Path

import pytest

from miss_protocol import limits

ROOT = Path(__file__).parents[2]
NAMES = [name for name in vars(limits) if name.isupper()]
SOURCES = [
    path
    for folder in ("protocol/miss_protocol", "server", "clients", "protocol/spec")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in (".py", ".md") and path.name != "limits.py"
]


def test_sizes_grow_from_the_inside_to_the_outside() -> None:
    sizes = [
        limits.WRAP_MAX,
        limits.BODY_MAX,
        limits.FRAME_MAX,
        limits.SEND_FRAME_MAX,
        limits.MESSAGE_MAX,
        limits.TRANSPORT_MAX,
    ]
    assert sizes == sorted(set(sizes))


def test_a_row_fits_every_window_and_mailbox() -> None:
    assert limits.WINDOW_MIN <= limits.WINDOW_START <= limits.WINDOW_MAX
    assert limits.WINDOW_MAX <= limits.MAILBOX_BYTES_MAX
    assert limits.BODY_MAX + limits.WRAP_MAX < limits.FRAME_MAX


def test_no_message_outlives_the_device_that_it_waits_for() -> None:
    assert limits.TTL_MIN <= limits.TTL_DEFAULT <= limits.TTL_MAX <= limits.DORMANT_AFTER


def test_clients_ping_before_servers_lose_patience() -> None:
    assert 2 * limits.CLIENT_PING_EVERY < limits.IDLE_TIMEOUT


def test_prekeys_are_refilled_before_they_run_out() -> None:
    assert 0 < limits.PREKEYS_REFILL_AT < limits.PREKEYS_UPLOADED


@pytest.mark.parametrize("name", NAMES)
def test_a_limit_is_used_and_has_its_reason(name: str) -> None:
    assert any(re.search(rf"\b{name}\b", path.read_text("utf-8")) for path in SOURCES), name
