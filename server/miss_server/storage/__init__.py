"""The truth: accounts, rosters, prekeys, mailboxes and the directory, in SQL.

`schema` has the tables once for every engine; the other files here are the interfaces, with what
is atomic, ordered and bounded; `sqlite/` implements them.
"""
