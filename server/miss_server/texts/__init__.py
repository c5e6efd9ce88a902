"""Texts that the server hands out: the charter that it uses unless the operator brings one."""
