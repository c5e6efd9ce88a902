"""What an operator does beside a running server, each in short transactions of its own."""
