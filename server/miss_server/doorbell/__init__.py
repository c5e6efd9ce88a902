"""Rings that say "look into this device's mailbox", never what is in it.

A ring may be lost: the sweep finds what it would have announced (rule 1 of the design).
"""
