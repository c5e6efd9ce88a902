"""Every limit of the protocol, with its reason. Sizes are bytes, durations seconds.

A refusal for a limit carries a code of `errors`; the number is told in its text.
"""

# --- Wire (spec 02-wire §2) -------------------------------------------------------------------

BODY_MAX = 16 * 1024
"""An encrypted body. An SMS-style message needs 1 KB; pictures travel as attachments."""
WRAP_MAX = 2 * 1024
"""One device's wrap. A first-flight wrap has about 1.6 KB, a steady one about 0.3 KB."""
SEND_FRAME_MAX = 256 * 1024
"""A `send` with a body and the first-flight wraps of about 140 devices."""
FRAME_MAX = 64 * 1024
"""Any other frame: the largest is an `ack` with the receipts of a whole catch-up window."""
MESSAGE_MAX = 512 * 1024
"""One WebSocket message, an array of frames: a full `send` and everything that may ride with it."""
TRANSPORT_MAX = 640 * 1024
"""What the transport lets through: above MESSAGE_MAX, so that a refusal carries a code."""
FRAMES_PER_MESSAGE_MAX = 1024
"""Frames in one array: more would hold the event loop for tens of milliseconds."""
NESTING_MAX = 32
"""Depth of arrays and maps that every receiver reads; deeper may be refused as malformed.
Nothing of ours is deeper than 6."""
ANSWERS_UNREAD_MAX = 4 * FRAMES_PER_MESSAGE_MAX
"""Errors and pongs that a server holds for a peer: more, and the peer writes without reading."""
RETRY_AFTER_MAX = 24 * 3600
"""The longest wait that a peer may ask for."""
HTTP_BODY_MAX = 512 * 1024
"""An HTTP request's body: 50 one-time prekeys have about 70 KB, in base64 about 95 KB."""

# --- Sending (spec 03-session §4) ---------------------------------------------------------------

RECIPIENT_DEVICES_MAX = 128
"""Wraps in one `send`: a care team of 12 with four devices each is 48; mass mailing is no use."""
RECIPIENT_ACCOUNTS_MAX = 32
"""Accounts in one `send`, the sender's own included."""
FIRST_MESSAGES = 2
"""Messages to somebody who has not answered yet: the second one adds what the first forgot."""
NEW_RECIPIENTS_PER_HOUR = 20
"""Accounts that one account writes to for the first time: a care team at once, and not a hospital."""
NEW_RECIPIENTS_PER_DAY = 60
"""The same in a day: more than anybody meets, and a thousandth of what a mailing needs."""
LISTED_MAX = 64
"""Professions, and establishments, of one account's rules of who may reach or find it."""
SENDS_IN_FLIGHT_MAX = 64
"""Unanswered `send` frames of one connection; further ones wait in the client's outbox."""
RECEIPTS_PER_ACK_MAX = 256
"""Receipts in one `ack`."""
TTL_DEFAULT = 30 * 24 * 3600
TTL_MAX = 30 * 24 * 3600
"""A device unseen for 30 days is dormant, so no message waits for longer."""
TTL_MIN = 60
RESULT_KEPT = 7 * 24 * 3600
"""A send's result is kept this long after its terminal state, for retries of the same `sn`."""

# --- Mailboxes (spec 03-session §5) ---------------------------------------------------------------

MAILBOX_ROWS_MAX = 20_000
"""Rows that wait for one device: two years of an ordinary clinician's messages."""
MAILBOX_BYTES_MAX = 64 * 1024 * 1024
"""Bytes that wait for one device."""
DORMANT_AFTER = 30 * 24 * 3600
"""A device unseen for this long is left out of recipient sets and told so on its return."""
WINDOW_START = 16 * 1024
"""Un-acknowledged bytes at first: one second of a 128 kbit/s link."""
WINDOW_MIN = 4 * 1024
WINDOW_MAX = 1024 * 1024
"""The window grows with acknowledged bytes up to this, and is halved by an ack timeout."""
ACK_TIMEOUT = 10.0
"""Without acknowledgement progress and without a pong for this long, the connection is dead."""
SLOWEST_LINK = 2_000
"""Bytes a second of the worst link that is served: GPRS in a valley. It lengthens ACK_TIMEOUT."""
HELLO_TIMEOUT = 10.0
"""Time from the challenge to `hello`: a phone on a slow link needs three round trips."""
IDLE_TIMEOUT = 15 * 60.0
"""A connection on which nothing came from the client: mobile apps ping every five minutes."""
CLIENT_PING_EVERY = 5 * 60.0
"""NAT tables of mobile operators forget an idle connection after ten to thirty minutes."""
SWEEP_EVERY = 5.0
"""How often a node looks for rows whose ring was lost: the worst delay of a lost doorbell."""

# --- Keys (spec 04-encryption §5, §7) -------------------------------------------------------------------

PREKEYS_UPLOADED = 50
"""One-time prekeys that a device keeps on the server (vodozemac publishes at most 50 at once)."""
PREKEYS_REFILL_AT = 20
PREKEY_CLAIMS_PER_HOUR = 30
"""Claims of one account against one target device: more would be an attempt to exhaust it."""
LAST_RESORT_ROTATION = 7 * 24 * 3600
SESSION_MAX_AGE = 7 * 24 * 3600
SESSION_MAX_MESSAGES = 500
"""A session is renewed after either: a new X-Wing exchange heals a post-quantum compromise."""
CHAIN_GAP_MAX = 2000
"""Messages of one chain that may be missing before it; more and the session is renewed."""
CHAIN_SKIPPED_MAX = 64
"""Message keys kept for late messages; the ratchet inside keeps 40."""
RECEIVE_SESSIONS_MAX = 4
"""Sessions kept per peer device: after simultaneous starts and renewals."""
RESENDS_MAX = 3
"""Times a client encrypts one message anew for a device that could not open it."""
DEVICES_PER_ACCOUNT_MAX = 10
DEVICE_NAME_MAX = 64
ROSTER_MAX = 16 * 1024
"""A roster of ten devices and a hundred revocations has about 6 KB."""

# --- Login and enrolment (spec 03-session §2, 02-wire §5) -----------------------------------------

CLOCK_SKEW_MAX = 300
"""Difference between a signed request's time and the server's: phones are seldom off by more."""
NONCE_BYTES = 32
ENROLMENT_CODE_TTL = 14 * 24 * 3600
"""A code that is handed over in a letter must survive a week's holiday."""
ORGANISATION_CODES_PER_DAY = 50
"""Codes of one organisation's administrators within 24 hours: a care home at once, a hospital ward by
ward; for thousands of letters there is the operator's list, and who took over a role gets no further."""
ENROLMENT_TRIES_PER_HOUR = 20
"""Wrong codes of which one address is told. A right one is taken beyond that, too: a code has 58.9 bits, and
those who guess at a server's full speed find one of 10,000 in centuries (spec 02-wire §5)."""
LINK_TTL = 15 * 60
"""Time to approve a new device from an old one."""

# --- Directory (spec 05-directory) ------------------------------------------------------------------------

QUERY_MAX = 200
"""Bytes of a search."""
QUERY_WORDS_MAX = 8
PAGE_DEFAULT = 20
PAGE_MAX = 50

# --- Inviting (spec 12-invitations) ---------------------------------------------------------------------

INVITATIONS_PER_DAY = 10
"""People whom one account invites within 24 hours: a ward's round of colleagues, no mailing."""
INVITATIONS_PER_PERSON = 5
"""Invitations that one person ever gets, whoever sends them: after that they have heard of it."""
INVITATION_KEPT = 2 * 365 * 24 * 3600
"""An invitation is kept this long, so that its sender does not repeat it."""
WISHES_MAX = 200
"""People of whom one account wants to know when they join."""
WISH_TTL = 365 * 24 * 3600
"""A wish ends by itself: who wants to know after a year asks again."""

# --- Reports (spec 09-standing §3) ----------------------------------------------------------------------

REPORTS_PER_DAY = 20
"""Messages that one account reports within 24 hours: a bad day, and no flood for the operator."""
REPORT_AGE_MAX = 90 * 24 * 3600
"""Time since a message came: long enough for a holiday, short enough to ask both what happened."""
REPORT_NOTE_MAX = 500
"""Characters of what a reporter adds: the message speaks for itself."""
