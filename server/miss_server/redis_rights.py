"""What nodes use of a Redis or Valkey, so that its operator can allow them this and nothing else."""

CHANNEL = "miss:{domain}:doorbell"
KEYS = "miss:{domain}:limits"
_COMMANDS = (
    "publish", "subscribe",  # the doorbell
    "evalsha", "script|load", "exists", "get", "incrby", "pttl", "rename", "set",  # counting
    "select",  # where the address names another database than 0
)  # fmt: skip


def rights(domain: str) -> str:
    """The rules of `ACL SETUSER` for the user of the nodes of a domain."""
    commands = " ".join(f"+{name}" for name in _COMMANDS)
    channel, keys = CHANNEL.format(domain=domain), KEYS.format(domain=domain)
    return f"resetchannels &{channel} resetkeys ~{keys}:* -@all {commands}"
