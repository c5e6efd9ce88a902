"""The tables of who was shown by an identity provider, and of sign-ins that are under way.

A sign-in is opened by an app, which alone has its secret; the browser has its state. Both are kept as
keyed hashes, so that a copy of the table opens nobody's sign-in. There is no row before it is begun, unless it
renews, and little in one before a person is proven: anybody may begin. It is gone soon after its end; what
remains is one row of `proofs` an account. Spec: 10-identity-provider; rule A4.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    false,
)

from miss_server.storage.schema import metadata

sign_ins = Table(
    "sign_ins",
    metadata,
    Column("id", LargeBinary(32), primary_key=True, comment="keyed hash of the app's secret"),
    Column("account", String, nullable=False, comment="an address not in use yet, or who renews"),
    Column("renews", Boolean, nullable=False, server_default=false()),
    Column("stage", String, nullable=False, comment="open, waiting, signed_in, done, failed"),
    Column("method", String, nullable=False, server_default="", comment="code or ciba"),
    Column("state_hash", LargeBinary(32), nullable=True, comment="null once it was used"),
    Column("verifier", String, nullable=False, server_default="", comment="PKCE's; until used"),
    Column("request", String, nullable=False, server_default="", comment="CIBA's auth_req_id"),
    Column("interval_s", Integer, nullable=False, server_default="0"),
    Column("polled_ms", BigInteger, nullable=False, server_default="0"),
    Column("hint", String, nullable=False, server_default="", comment="who was asked, for CIBA"),
    Column("call", LargeBinary, nullable=False, server_default="", comment="the genesis"),
    Column("begun_ms", BigInteger, nullable=False, server_default="0"),
    Column("shown", LargeBinary, nullable=False, server_default="", comment="what it proved"),
    Column("confirm_hash", LargeBinary(32), nullable=True, comment="of the code on the page"),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("code", String, nullable=False, server_default="", comment="why it failed"),
    Column("reason", String, nullable=False, server_default=""),
    Column("expires_ms", BigInteger, nullable=False),
    Index("sign_ins_state", "state_hash", unique=True),
    Index("sign_ins_expiry", "expires_ms"),
)

proofs = Table(
    "proofs",
    metadata,
    Column("account", String, primary_key=True),
    Column("genesis", LargeBinary(32), nullable=False),
    Column("person", String, nullable=False),
    Column("method", String, nullable=False, comment="code or ciba"),
    Column("issuer", String, nullable=False),
    Column("client", String, nullable=False, comment="the token's audience"),
    Column(
        "token", Text, nullable=False, comment="shown to contacts; empty if they cannot check it"
    ),
    Column("level", String, nullable=False, comment="acr"),
    Column("proved_ms", BigInteger, nullable=False, comment="by the provider's clock"),
    Column(
        "lapsed",
        Boolean,
        nullable=False,
        server_default=false(),
        comment="suspended because it was not proven anew",
    ),
    Column(
        "userinfo",
        Text,
        nullable=False,
        server_default="",
        comment="shown beside a token that does not name the person",
    ),
    Index("proofs_proved", "proved_ms"),
)

tables = (sign_ins, proofs)
