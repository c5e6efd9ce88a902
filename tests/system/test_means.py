"""What these tests need is there: a machine without it fails, nothing is left out in silence."""

import os
import shutil
from pathlib import Path

import pytest

from tests.support.means import MEANS


def test_root() -> None:
    assert os.geteuid() == 0, "make test-system needs root"


@pytest.mark.parametrize("name", MEANS)
def test_command(name: str) -> None:
    assert shutil.which(name), f"apt install {MEANS[name]}"


def test_loop_devices() -> None:
    assert Path("/dev/loop-control").exists(), "this machine gives no loop devices"
