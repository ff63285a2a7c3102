"""The part of a batch that one of several ranks has: some of its videos, with all of their queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mttsg_core.data.batch import (
    Batch,
    Targets,
    VideoItem,
    collate,
    collate_index,
    collate_sources,
    collate_targets,
)
from mttsg_core.data.share import PartOfBatch
from mttsg_core.utils.distributed import Ranks

_QUERIES_OF_A_VIDEO = 2  # as much work as encoding the video itself


def collate_part(items: Sequence[VideoItem], ranks: Ranks) -> tuple[Batch, Targets]:
    """Make the part that a rank has of the batch of these videos, and its targets; all of it if there is one rank.

    Every rank makes the same division of the same videos. It pads its part to the longest video and sentence of the
    whole batch. Where there are fewer videos than ranks, those without one repeat a video that does not count.
    """
    if ranks.world == 1:
        return collate(items), collate_targets(items)
    division = divide(items, ranks.world)
    numbers = division[ranks.rank]
    is_stand_in = not numbers
    if is_stand_in:
        numbers = [min(range(len(items)), key=lambda number: _work(items[number]))]
    own = [replace(items[number], negatives=()) if is_stand_in else items[number] for number in numbers]
    index = collate_index([len(item.words) for item in items])  # (N*,)
    queries_of = [(index == number).nonzero().squeeze(1) for number in range(len(items))]
    part = PartOfBatch(
        ranks=ranks,
        targets=collate_targets(items),
        sources=collate_sources(items),
        video_index=index,
        queries=torch.cat([queries_of[number] for number in numbers]),
        videos=torch.tensor(numbers),
        query_rows=_rows([[query for number in some for query in queries_of[number].tolist()] for some in division]),
        video_rows=_rows(division),
        most=(max(sum(len(items[number].words) for number in some) for some in division), max(map(len, division))),
        negatives=sum(len(item.negatives) for item in items),
        is_stand_in=is_stand_in,
    )
    clips = max(len(item.features.clips) for item in items)
    words = max(len(query) for item in items for query in (*item.words, *item.negatives))
    batch = collate(own, clips_at_least=clips, words_at_least=words)
    return replace(batch, share=part), collate_targets(own)


def divide(items: Sequence[VideoItem], ranks: int) -> list[list[int]]:
    """Divide videos among ranks, to each as many as to the others, or one less, and about as much work.

    Returns:
        The numbers of the videos of each rank, in order.
    """
    most = -(-len(items) // ranks)
    parts: list[list[int]] = [[] for _ in range(ranks)]
    work = [0] * ranks
    for number in sorted(range(len(items)), key=lambda number: -_work(items[number])):
        rank = min((rank for rank in range(ranks) if len(parts[rank]) < most), key=lambda rank: work[rank])
        parts[rank].append(number)
        work[rank] += _work(items[number])
    return [sorted(part) for part in parts]


def _work(item: VideoItem) -> int:
    return _QUERIES_OF_A_VIDEO + len(item.words)


def _rows(division: Sequence[Sequence[int]]) -> Tensor:
    """Return the place of each number among the gathered ones, which are padded to as many a rank: (X,)."""
    most = max(map(len, division))
    places = {number: rank * most + place for rank, part in enumerate(division) for place, number in enumerate(part)}
    return torch.tensor([places[number] for number in range(len(places))])
