"""What this account may be told about itself, and do about itself. Spec: 11-accounts §3."""

from miss_client.calls import Calls
from miss_client.errors import RefusedByServer
from miss_protocol.account import AccountNotice, AccountNotices
from miss_protocol.errors import Code


async def notices(calls: Calls) -> tuple[AccountNotice, ...]:
    """What will end this account unless something is done. Raises as any call."""
    try:
        return (await calls.get("/v1/account/notices", AccountNotices)).notices
    except RefusedByServer as refused:
        if refused.code is Code.NOT_FOUND:
            return ()  # an older server
        raise
