"""docs/protocol.md is what the specs say today."""

from pipelines.protocol import protocol_page
from pipelines.tasks import PAGE


def test_the_page_is_not_stale() -> None:
    assert PAGE.read_text(encoding="utf-8") == protocol_page(), "run `make protocol`"
