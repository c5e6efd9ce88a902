"""What an operator asks of a server: how it does (`health`), how much (`metrics`).

It reads what the other parts count and say of themselves, and changes nothing.
"""
