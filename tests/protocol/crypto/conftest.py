"""What the attacks on the encryption start from."""

import pytest

from tests.support.adversary import Scene


@pytest.fixture
def scene() -> Scene:
    return Scene()
