"""A bad destination among ten, for a short time; each kind of trouble."""

import pytest

from tests.torture.isolation import KINDS, run


@pytest.mark.parametrize("kind", KINDS)
async def test_one_bad_destination_of_ten_slows_nobody(kind: str) -> None:
    await run(kinds=[kind], rounds=3, events=1000, slower=3.0)
