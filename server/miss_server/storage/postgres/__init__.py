"""The store on PostgreSQL 15 or newer, for more than one process or node.

**Order of locks.** Everybody who changes a row that others change too locks in one order, so that two
nodes never wait for each other in a circle: the account, then devices, then mailboxes, each kind
sorted by its key. A device's row also guards its sends, a mailbox's row its envelopes; neither of
those is ever locked by itself. What is decided is read in a statement that began after the locks
were granted: an older snapshot would deliver to a device that was revoked meanwhile (rule C1).
"""
