"""Whom the account met and what it wants of them, and who may reach and find it. Spec: 08-meeting."""

from miss_client.calls import Calls
from miss_protocol.ids import AccountAddress
from miss_protocol.meeting import Act, Contact, ContactAct, ContactsPage, ReachRules


async def met(calls: Calls) -> list[Contact]:
    """Everybody that the account met, requests included, by address."""
    found: list[Contact] = []
    page = await calls.get("/v1/contacts", ContactsPage)
    found += page.contacts
    while page.next is not None:
        page = await calls.get("/v1/contacts", ContactsPage, cursor=page.next)
        found += page.contacts
    return found


async def requests(calls: Calls) -> list[Contact]:
    """Who wrote, and was neither answered nor judged."""
    return [one for one in await met(calls) if one.stance == "request"]


async def act(calls: Calls, address: AccountAddress, what: Act) -> Contact:
    """Accept, decline, block or unblock somebody, for all devices of the account and from now on.

    Raises:
        RefusedByServer: unknown_account.
    """
    return await calls.post("/v1/contacts", ContactAct(address, what), Contact)


async def reach(calls: Calls) -> ReachRules:
    """Who may write to the account first, and who finds it."""
    return await calls.get("/v1/reach", ReachRules)


async def set_reach(calls: Calls, rules: ReachRules) -> ReachRules:
    """Say so; contacts stay contacts."""
    return await calls.put("/v1/reach", rules, ReachRules)
