"""Fixtures of the tests of rules."""

from __future__ import annotations

import keras
import pytest
from keras.src.utils import naming


@pytest.fixture
def fresh_names() -> None:
    """Ops and layers have names without numbers, and weights follow from a seed."""
    naming.reset_uids()
    keras.utils.set_random_seed(0)
