"""The server without an end to mailboxes: `python -m tests.bench.deep serve`.

A device's mailbox ends at 20,000 rows (`limits.MAILBOX_ROWS_MAX`), and what a million would cost could
not be measured.
"""

from miss_protocol import limits
from miss_server.cli import main

limits.MAILBOX_ROWS_MAX = limits.MAILBOX_BYTES_MAX = 2**50

if __name__ == "__main__":
    main()
