"""How the tables of a database change from one version of the server to the next.

Each file of `versions` is one step, written for both engines and never changed once it was released;
it spells its tables out and takes nothing from `storage.schema`, which goes on. Steps are numbered
without holes, and the number of the last one is `schema.SCHEMA_VERSION`.

**One step, two versions.** A version of the server runs on its own schema and on the one before, so
that nodes are replaced one after the other while the others serve: first every node gets the new
version, then `miss-server db upgrade` takes the step. So a step only adds (a table, a column that is
nullable or has a default, an index), and what the new version no longer uses is dropped by the step
after, when no old node can be left. A node of the version before that still runs meanwhile goes on;
started anew it refuses the schema that it does not know.

A step runs in one transaction, under a lock, or not at all.
"""
