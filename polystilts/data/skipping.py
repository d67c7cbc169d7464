"""Bad rows: the first one refuses its file, or they are left out and counted."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from polystilts.data.columns import to_row
from polystilts.errors import BadRow
from polystilts.formats.values import Row
from polystilts.tasks.spec import TaskSpec

logger = logging.getLogger(__name__)

#: What to do with a row that does not have the documented form: refuse the file, or leave the row out and count it.
OnBadRow = Literal["error", "skip"]


class Skipper:
    """Applies `OnBadRow` to the rows of one file (or hub split) after the other.

    Attributes:
        skipped: file -> number of rows left out of it; files without any are not in it.
    """

    def __init__(self, on_bad_row: OnBadRow = "error") -> None:
        self.on_bad_row = on_bad_row
        self.skipped: dict[str, int] = {}

    def kept(self, rows: Iterable[Row | BadRow | None], file: str) -> list[Row]:
        """The good rows.

        Raises:
            BadRow: the first bad row, in mode 'error' or where no row is good (it is another kind of file).
        """
        good: list[Row] = []
        bad: list[BadRow] = []
        for row in rows:
            if isinstance(row, BadRow):
                if self.on_bad_row == "error":
                    raise row
                bad.append(row)
            elif row is not None:
                good.append(row)
        self.skipped.pop(file, None)
        if bad:
            if not good:
                raise bad[0]
            self.skipped[file] = len(bad)
            logger.warning("%s: %d bad rows left out; the first: %s", file, len(bad), bad[0])
        return good


def row_or_bad(spec: TaskSpec, values: Mapping[str, Any], **rest: Any) -> Row | BadRow | None:
    """`to_row`, with the error in place of a row that is refused."""
    try:
        return to_row(spec, values, **rest)
    except BadRow as error:
        return error
