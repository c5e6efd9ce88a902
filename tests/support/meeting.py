"""People who have not met, for tests that are about something else, and for those that are not."""

from miss_server.storage.meeting import Meeting
from miss_server.storage.settlement.meeting import FirstContacts
from tests.support.mailing import Store


class MeetingStore(Store, Meeting):
    """What the tests of meeting are given."""


LIFTED = FirstContacts(messages=1_000_000_000, per_hour=1_000_000_000, per_day=1_000_000_000)
"""For a store whose tests write on and on to somebody who never answers."""
