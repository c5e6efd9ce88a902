"""A client of MiSS, and the reference for writing others.

Start at `client.Client`; `clients/README.md` has an example and the order in which things are saved.
"""

from miss_client.client import Client, conversation_of
from miss_client.errors import ClientError, RefusedByServer, ServerError, Trouble, Unreachable
from miss_client.new_device import JoiningAccount, enrol, join_account
from miss_client.store import Store

__all__ = [
    "Client",
    "ClientError",
    "JoiningAccount",
    "RefusedByServer",
    "ServerError",
    "Store",
    "Trouble",
    "Unreachable",
    "conversation_of",
    "enrol",
    "join_account",
]
