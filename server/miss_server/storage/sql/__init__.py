"""The quiet part of the store, once for every engine: accounts, codes, rosters, prekeys, epochs.

Functions over a SQLAlchemy connection inside a transaction that they neither begin nor end; a refusal
is raised and the caller undoes what was done. They hold on PostgreSQL's READ COMMITTED as on SQLite's
one writer: what is read in order to write is locked first and read in a later statement (rule C1),
and rows are locked in one order by everybody, which is why nobody waits in a circle:

    the epoch (`epochs.hold`, `epochs.take`), accounts by address, devices by id, mailboxes by device,
    then rows that are guarded by one of these: codes and rosters by their account, prekeys and sends
    by their device, envelopes by their mailbox.

SQLite has no row locks and needs none; the clauses compile to nothing there.
"""
