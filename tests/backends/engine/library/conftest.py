"""What the tests of creating share."""

from pathlib import Path

import pytest

from support.gguf import random_llama
from support.workshop import Workshop


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


@pytest.fixture
def weights(shop: Workshop, tmp_path: Path) -> str:
    """The digest of an uploaded model."""
    return shop.upload(random_llama(tmp_path / "random.gguf"))
