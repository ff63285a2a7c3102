"""What `mttsg ground` found, line by line, for the writers of all formats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from mttsg_core.inference.ranking import LeftOut

MISSING = "–"  # in tables, for a number that does not exist
COLUMNS = ("video", "query", "rank", "start", "end", "score")


@dataclass(frozen=True)
class Row:
    """One moment. Times are in seconds, and rounded to milliseconds only when they are written.

    Attributes:
        score: None where scores say nothing, as those of a model that is not calibrated.
        label: short name of the video for readers, where there are several videos; not a column.
    """

    video: str
    query: str
    rank: int
    start: float
    end: float
    score: float | None
    label: str = ""

    def rounded(self) -> dict[str, str | int | float | None]:
        """Return the columns as they are written."""
        values = {name: getattr(self, name) for name in COLUMNS}
        return {name: round(value, 3) if isinstance(value, float) else value for name, value in values.items()}


@dataclass(frozen=True)
class NoAnswer:
    """A sentence without any moment. Only the table shows it; other formats have no row for it.

    Attributes:
        query: the sentence.
        where: the video, or `any video`.
        of_several: whether several videos were searched.
    """

    query: str
    where: str
    of_several: bool = False

    def __str__(self) -> str:
        return f"not in {self.where}: {self.query}"


Line: TypeAlias = "Row | NoAnswer | LeftOut"


@dataclass
class LeftOutTotal:
    """How many answers of all sentences are left out.

    Attributes:
        sentences: that have such answers.
        number: of the answers.
        weak: number of those that are weak.
        first: those of the first sentence.
    """

    sentences: int = 0
    number: int = 0
    weak: int = 0
    first: LeftOut | None = None

    def add(self, left_out: LeftOut) -> None:
        """Add those of a sentence."""
        self.first = self.first or left_out
        self.sentences += 1
        self.number += left_out.number
        self.weak += left_out.weak

    def __str__(self) -> str:
        if self.sentences == 1:
            return f"{self.first}: --all"
        return f"{self.number:,} more answers of {self.sentences:,} sentences, {self.weak:,} of them weak: --all"
