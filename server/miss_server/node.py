"""Which node of a service this is: a name that its folder keeps.

What a node has seen of its database is kept under its name (`storage.postgres.lives`): one that came
back with another name would be a new one.
"""

import re
import secrets
import socket
from pathlib import Path

from miss_server.refusals import Refusal

NAME = "[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?"
"""Like a host's name: it becomes the name of a file and of a lock."""


class NodeError(Refusal):
    """This node cannot be told from another one; the text says what to change."""


def name_in(folder: Path) -> str:
    """The name of the node whose folder this is: of this host and something random, made once.

    Raises:
        NodeError: what is there is no name.
        OSError: it cannot be read or written.
    """
    file = folder / "name"
    if not file.exists():
        host = re.sub("[^a-z0-9-]", "-", socket.gethostname().split(".")[0].lower()).strip("-")
        new = file.with_suffix(".new")
        new.write_text(f"{host[:40].strip('-') or 'node'}-{secrets.token_hex(4)}\n")
        new.replace(file)
    name = file.read_text(errors="replace").strip()
    if not re.fullmatch(NAME, name):
        raise NodeError(f"{file} holds no name of a node: remove it, or set MISS_NODE")
    return name
