"""What a process has of a batch that several processes learn from together, and its way to the rest.

A step of several ranks is the step of one process with the whole batch: each rank has some of the videos with all of
their queries, and its loss is a share: the shares of all ranks, and so their gradients, add up to those of the batch.

- A mean over queries is a sum over the own ones, divided by the number of all (`mean`, `part`).
- What compares queries with other pairs reads those of all ranks (`gather`), whose gradients flow back to the ranks
  that they come from. What is then computed alike on every rank counts once (`alike`).
- Ranks wait for each other where they gather, forward and backward. So a step gathers three times, and each time all
  that it can: encoded sentences, the entries of the memory, and what the losses compare.

`Share` is a batch that is whole on this process, for which all of this is nothing at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch.nn.functional import pad

from mttsg_core.utils.distributed import Ranks

_Record = TypeVar("_Record")


class Share:
    """The share of a process that has the whole batch of V videos and N queries."""

    def whole(self, own: _Record) -> _Record:
        """Return `Targets` or `Sources` of the whole batch, given those of the own videos."""
        return own

    def whole_index(self, own: Tensor) -> Tensor:
        """Return the number of each query's video in the whole batch (N,), given `video_index` of the own queries."""
        return own

    def whole_videos(self, own: int) -> int:
        """Return V, given the number of own videos."""
        return own

    def whole_negatives(self, own: int) -> int:
        """Return how many mismatched queries were written for the videos of the batch, given those of the own ones."""
        return own

    def own_queries(self, values: Tensor) -> Tensor:
        """Return the rows of the own queries, (N', ...) of (N, ...)."""
        return values

    def own_videos(self, values: Tensor) -> Tensor:
        """Return the rows of the own videos, (V', ...) of (V, ...)."""
        return values

    def asked_here(self, video_index: Tensor) -> tuple[Tensor | slice, Tensor]:
        """Return which of A queries are asked of own videos, and for these the number of the video among them.

        Args:
            video_index: (A,) of the whole batch.
        """
        return slice(None), video_index

    def gather(
        self, of_queries: Sequence[Tensor], of_videos: Sequence[Tensor] = ()
    ) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Return values of all queries, (N, ...) each, and of all videos, (V, ...) each, in one message.

        Args:
            of_queries: (N', ...) of the own ones.
            of_videos: (V', ...) of the own ones.
        """
        return of_queries, of_videos

    def total(self, values: Tensor) -> Tensor:
        """Return the share in the sum over all queries of values of the own ones, (N', ...)."""
        return values.sum()

    def mean(self, values: Tensor) -> Tensor:
        """Return the share in the mean over all queries of values of the own ones, (N',)."""
        return values.mean()

    def part(self, total: Tensor, count: Tensor) -> Tensor:
        """Return the share in the sum of all ranks' totals, divided by the sum of their counts; 0 without any."""
        return total / count.clamp_min(1)

    def count(self, own: Tensor) -> Tensor:
        """Return the sum of all ranks' counts."""
        return own

    def alike(self, value: Tensor) -> Tensor:
        """Return the share in a value that every rank computes alike from what was gathered."""
        return value

    def join(self, total: Tensor) -> Tensor:
        """Return the total of the losses, from which the backward pass reaches everything that was gathered.

        Ranks wait for each other there, so none may leave it out, even if its losses need nothing of it.
        """
        return total


WHOLE = Share()


@dataclass(frozen=True)
class PartOfBatch(Share):
    """The share of one of several ranks.

    Attributes:
        ranks: all processes.
        targets, sources: of the whole batch.
        video_index: (N,) of the whole batch.
        queries: (N',) numbers of the own queries in the whole batch.
        videos: (V',) numbers of the own videos.
        query_rows: (N,) place of each query among the gathered ones, which are padded to as many a rank.
        video_rows: (V,) likewise.
        most: queries and videos that a rank has, at most.
        negatives: number of mismatched queries that were written for the videos of the batch.
        is_stand_in: whether there are fewer videos than ranks, and this rank only repeats one: that does not count.
        gathered: what was gathered so far, for `join`.
    """

    ranks: Ranks
    targets: Any
    sources: Any
    video_index: Tensor
    queries: Tensor
    videos: Tensor
    query_rows: Tensor
    video_rows: Tensor
    most: tuple[int, int]
    negatives: int
    is_stand_in: bool = False
    gathered: list[Tensor] = field(default_factory=list)

    def whole(self, own: _Record) -> _Record:
        """Return `Targets` or `Sources` of the whole batch."""
        return cast(_Record, self.targets if isinstance(own, type(self.targets)) else self.sources)

    def whole_index(self, own: Tensor) -> Tensor:
        """Return the number of each query's video in the whole batch (N,)."""
        return self.video_index

    def whole_videos(self, own: int) -> int:
        """Return V."""
        return len(self.video_rows)

    def whole_negatives(self, own: int) -> int:
        """Return how many mismatched queries were written for the videos of the batch."""
        return self.negatives

    def own_queries(self, values: Tensor) -> Tensor:
        """Return the rows of the own queries, (N', ...) of (N, ...)."""
        return values.index_select(0, self.queries)

    def own_videos(self, values: Tensor) -> Tensor:
        """Return the rows of the own videos, (V', ...) of (V, ...)."""
        return values.index_select(0, self.videos)

    def asked_here(self, video_index: Tensor) -> tuple[Tensor | slice, Tensor]:
        """Return which of A queries are asked of own videos, and for these the number of the video among them."""
        number = torch.full_like(self.video_rows, -1)  # (V,)
        if not self.is_stand_in:
            number[self.videos] = torch.arange(len(self.videos), device=number.device)
        numbers = number[video_index]
        here = (numbers >= 0).nonzero().squeeze(1)
        return here, numbers[here]

    def gather(
        self, of_queries: Sequence[Tensor], of_videos: Sequence[Tensor] = ()
    ) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Return values of all queries, (N, ...) each, and of all videos, (V, ...) each, in one message."""
        kinds = zip((of_queries, of_videos), self.most, (self.query_rows, self.video_rows), strict=True)
        used = [(values, self._joined(values, most), rows) for values, most, rows in kinds if values]
        if not used:
            return (), ()
        message = torch.cat([joined.flatten() for _, joined, _ in used])
        gathered: Tensor = _Gather.apply(message, self.ranks)  # type: ignore[no-untyped-call]  # (R, F)
        if gathered.requires_grad:
            self.gathered.append(gathered)
        parts = gathered.split([joined.numel() for _, joined, _ in used], dim=1)
        whole = []
        for part, (values, joined, rows) in zip(parts, used, strict=True):
            of_all = part.reshape(-1, joined.shape[1]).index_select(0, rows)  # (X, F_x)
            columns = of_all.split([value.shape[1:].numel() for value in values], dim=1)
            whole += [
                column.reshape(len(rows), *value.shape[1:]).to(value.dtype)
                for column, value in zip(columns, values, strict=True)
            ]
        return whole[: len(of_queries)], whole[len(of_queries) :]

    def total(self, values: Tensor) -> Tensor:
        """Return the share in the sum over all queries of values of the own ones, (N',)."""
        return values.sum() * (0 if self.is_stand_in else 1)

    def mean(self, values: Tensor) -> Tensor:
        """Return the share in the mean over all queries of values of the own ones, (N',)."""
        return self.total(values) / len(self.video_index)

    def part(self, total: Tensor, count: Tensor) -> Tensor:
        """Return the share in the sum of all ranks' totals, divided by the sum of their counts; 0 without any."""
        return (total * 0 if self.is_stand_in else total) / self.count(count).clamp_min(1)

    def count(self, own: Tensor) -> Tensor:
        """Return the sum of all ranks' counts."""
        counts = own.detach().to(torch.float32, copy=True)
        return self.ranks.add_up(counts * 0 if self.is_stand_in else counts)

    def alike(self, value: Tensor) -> Tensor:
        """Return the share in a value that every rank computes alike from what was gathered."""
        return value / self.ranks.world

    def join(self, total: Tensor) -> Tensor:
        """Return the total of the losses, from which the backward pass reaches everything that was gathered."""
        joined: Tensor = _Join.apply(total, *self.gathered)  # type: ignore[no-untyped-call]
        self.gathered.clear()
        return joined

    def _joined(self, values: Sequence[Tensor], most: int) -> Tensor:
        """Return values (X, ...) side by side (most, F), as every rank sends them: zeros after the own rows."""
        joined = torch.cat([value.flatten(1) if value.ndim > 1 else value[:, None] for value in values], dim=1)
        sent = joined[:0] if self.is_stand_in else joined
        return pad(sent, (0, 0, 0, most - len(sent))) if len(sent) < most else sent


class _Gather(torch.autograd.Function):
    """Values (F,) of every rank, (R, F); backward, the sum of the gradients that all ranks have for the own."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        return ranks.gather(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        [gradient] = gradients
        ranks: Ranks = ctx.ranks
        return ranks.add_up_own(gradient), None


class _Join(torch.autograd.Function):
    """A total that depends on what was gathered, without a gradient: its backward pass is reached all the same."""

    @staticmethod
    def forward(ctx: Any, total: Tensor, *gathered: Tensor) -> Tensor:
        ctx.gathered = len(gathered)
        return total.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        [gradient] = gradients
        return gradient, *[None] * ctx.gathered
