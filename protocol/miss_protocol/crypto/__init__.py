"""What only a client does: sessions, envelopes, messages, state at rest. Spec: 04-encryption §5-§10.

Start at `endpoint.Endpoint`. Suite 0x01 composes reviewed parts: Olm (vodozemac) gives the
double ratchet, HPKE with X-Wing gives post-quantum secrecy around it, libsodium the symmetric
encryption. The composition itself has had no independent review.
"""
