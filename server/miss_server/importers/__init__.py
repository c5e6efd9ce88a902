"""Reads the sources of the directory, and writes fictive ones.

One import, in this order: `archives` opens a file, `recognising` finds its source's reader (`activities`,
`skills`, `mailboxes`, `establishments`, `members`), which gives the same `lines` whatever the source;
`staging` puts each entry's lines together in a temporary file, `importing` compares them with the
directory in force, `merging` makes entries of those that differ, and `storage` writes and publishes them.
"""
