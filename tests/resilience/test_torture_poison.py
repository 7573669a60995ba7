"""The run in which one client sends only what Mixpanel refuses, small."""

from pathlib import Path

from tests.torture import poison


async def test_what_one_client_sends_in_vain_is_not_noticed_by_the_others(tmp_path: Path) -> None:
    figures = await poison.run(tmp_path, clients=20, seconds=10)
    assert figures["clients"] == 20
