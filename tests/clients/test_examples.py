"""The README's example and the plain script do what they say."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.conftest import World

pytestmark = pytest.mark.timeout(60)
CLIENTS = Path(__file__).parents[2] / "clients"


async def run(folder: Path, *words: str) -> str:
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_the_first_example_of_the_readme_runs(world: World, tmp_path: Path) -> None:
    text = (CLIENTS / "README.md").read_text()
    [example] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len([line for line in example.splitlines() if line.strip()]) <= 20
    (tmp_path / "example.py").write_text(example)
    cardiologist = await world.enrol("cardiologist")
    async with cardiologist:
        code = world.server.code_for(world.person("gp"))
        said = await run(tmp_path, "example.py", world.server.url, code, "cardio lefevere")
    assert said.strip() == "delivered"


async def test_the_plain_scripts_enrol_send_and_receive(world: World, tmp_path: Path) -> None:
    enrol, script = (str(CLIENTS / "examples" / f"plain_{name}.py") for name in ("enrol", "json"))
    for path in (enrol, script):
        assert "miss_" not in Path(path).read_text()
    for role in ("gp", "nurse"):
        code = world.server.code_for(world.person(role))
        await run(tmp_path, enrol, world.server.url, code, f"{role}.json")
    for _ in range(2):
        assert (await run(tmp_path, script, "send", "gp.json", "nurse.json")).split() == ["sent"]
        assert "received 297 bytes" in await run(tmp_path, script, "receive", "nurse.json")
