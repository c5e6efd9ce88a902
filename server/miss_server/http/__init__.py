"""The outside of the server: the WebSocket at `/v1/ws` and the HTTP calls under `/v1/`.

`routes` lists them; each other file has the calls of one noun. `signatures` finds out who calls,
`problems` turns what goes wrong into RFC 9457 documents.
"""
