"""What moves messages between connections and the store.

`connection` is one device's live connection, `hub` all of them on this node, `delivery` the way of
a send into the store, `login` the way of a device onto its connection, `keeper` what happens by
the clock.
"""
