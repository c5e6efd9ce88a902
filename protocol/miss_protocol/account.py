"""What an account is told about itself: the bodies of its HTTP calls. Spec: 11-accounts §3."""

from msgspec import Struct

from miss_protocol.frames import Address, Counter


class AccountNotice(Struct, frozen=True, omit_defaults=True):
    """Something that will end this account's access at `due`, unless what it names is over before.

    `kind` is `left` (its person is no longer in the directory) or `unattested` (nothing vouches any
    more for a person without a national number); clients show one that they do not know with its times.
    Times are milliseconds.
    """

    kind: str
    since: Counter
    due: Counter


class AccountNotices(Struct, frozen=True):
    """`GET /v1/account/notices`: what its user should know of this account; empty if all is well."""

    account: Address
    notices: tuple[AccountNotice, ...] = ()
