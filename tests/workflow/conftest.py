"""The installed wheel, which several tests run."""

from pathlib import Path

import pytest

from tests.workflow.wheel import build, install


@pytest.fixture(scope="session")
def wheel(once) -> Path:
    """The wheel of the checkout."""
    (path,) = once("dist", build).glob("*.whl")
    return path


@pytest.fixture(scope="session")
def environment(once, wheel) -> Path:
    """A virtual environment with the wheel, elsewhere and below a folder with a blank."""
    return once("My Drive", lambda path: install(wheel, path))
