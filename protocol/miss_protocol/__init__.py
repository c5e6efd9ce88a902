"""The MiSS protocol: what both ends share. It does no I/O and knows no clock.

Reading order: `ids` and `limits` (names and bounds), `errors` (what can go wrong), `frames` and
`codec` (the wire), `states`, `client_session` and `server_session` (the two state machines),
`api` (the HTTP bodies), `identity` (who is who, for both ends), `crypto` (what only a client does).
The prose is in `protocol/spec/`.
"""

VERSION = 1
"""The protocol's major version, as in the subprotocol names and the paths under `/v1/`."""
