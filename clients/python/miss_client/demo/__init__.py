"""`miss demo`: four clinicians against a real server process, told step by step and checked."""

from miss_client.demo.story import play

__all__ = ["play"]
