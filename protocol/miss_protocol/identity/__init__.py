"""Who is who: certificates, rosters, prekey signatures, logins, receipts, signed messages. Serves both ends.

Everything here is data and Ed25519 signatures over it; nothing decrypts. The server uses
it to refuse what clients would refuse, the clients use it because they do not trust the server.
Spec: 04-encryption §2-§4.
"""
