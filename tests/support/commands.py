"""Commands of the system that tests need: `mount`, `ip`, `nft`."""

import asyncio


async def command(*words: str) -> str:
    """Run a command to its end; returns what it wrote.

    Raises:
        RuntimeError: it failed; the text is what it wrote.
        FileNotFoundError: this machine has no such command.
    """
    process = await asyncio.create_subprocess_exec(
        *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said = (await process.communicate())[0].decode(errors="replace")
    if process.returncode:
        raise RuntimeError(f"{' '.join(words)}: {said}")
    return said
