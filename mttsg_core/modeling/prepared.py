"""Videos that are encoded once, whatever the number of their queries, and kept for further ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from mttsg_core.modeling.activity_sentence import VideoActivities
from mttsg_core.modeling.backbone import EncodedVideos

_Maybe: TypeAlias = Tensor | None


class PreparedVideos(NamedTuple):
    """Everything about V videos that depends on no query.

    Attributes:
        encoded: by the video encoder.
        contrast: (V, T, C) clips in the common space, or None.
        objects: (V, T, K_o, C) object prototypes, or None.
        activities: of the videos, or None.
        projected: (V, T, X) clips as the fusion reads them.
        ragged_regions: of each video by itself (1, T_v, R, D_o), in place of `encoded.regions`: they take most of the
            memory, and are not copied to be stacked.
    """

    encoded: EncodedVideos
    contrast: Tensor | None
    objects: Tensor | None
    activities: VideoActivities | None
    projected: Tensor
    ragged_regions: tuple[Tensor, ...] = ()

    @classmethod
    def stack(cls, parts: Sequence[PreparedVideos]) -> PreparedVideos:
        """Return the videos of parts with one video each, which one network has prepared, padded to the longest."""
        longest = max(part.projected.shape[1] for part in parts)
        regions = tuple(part.encoded.regions for part in parts if part.encoded.regions is not None)
        if not regions or regions[0].device.type != "cpu":
            return _combine(parts, lambda tensors: _pad_and_join(tensors, longest), torch.cat)
        bare = [part._replace(encoded=part.encoded._replace(regions=None)) for part in parts]
        stacked = _combine(bare, lambda tensors: _pad_and_join(tensors, longest), torch.cat)
        return stacked._replace(ragged_regions=regions)

    def part(self, rows: slice, clips: int) -> PreparedVideos:
        """Return some of the videos, without the padding after their first `clips` clips."""
        return _combine([self], lambda tensors: tensors[0][rows, :clips], lambda tensors: tensors[0][rows])

    def thinned(self, step: int) -> PreparedVideos:
        """Return the videos with one clip of every `step`, as if they had no others."""
        if step == 1:
            return self
        thin = _combine([self], lambda tensors: tensors[0][:, step // 2 :: step], lambda tensors: tensors[0])
        activities = thin.activities
        if activities is None:
            return thin
        share = activities.attention.shape[2] / self.projected.shape[1]
        return thin._replace(activities=activities._replace(attention=activities.attention / share))

    def copy(self) -> PreparedVideos:
        """Return the same videos with memory of their own, in place of that of a larger batch."""
        return _combine([self], _copy, _copy)

    @property
    def nbytes(self) -> int:
        """Size in memory, in bytes."""
        return sum(values.nbytes for values in _tensors(self))


def _combine(
    parts: Sequence[PreparedVideos],
    by_clip: Callable[[list[Tensor]], Tensor],
    by_video: Callable[[list[Tensor]], Tensor],
) -> PreparedVideos:
    """Combine the tensors (V, T, ...) of some prepared videos by one function, those without clips by another."""

    def combine(tensors: Sequence[_Maybe], join: Callable[[list[Tensor]], Tensor] = by_clip) -> _Maybe:
        present = [values for values in tensors if values is not None]
        return join(present) if present else None

    encoded = [part.encoded for part in parts]
    activities = [part.activities for part in parts if part.activities is not None]
    return PreparedVideos(
        encoded=EncodedVideos(
            by_clip([each.clips for each in encoded]),
            combine([each.regions for each in encoded]),
            by_clip([each.mask for each in encoded]),
            by_video([each.durations for each in encoded]),
            combine([each.shared for each in encoded]),
        ),
        contrast=combine([part.contrast for part in parts]),
        objects=combine([part.objects for part in parts]),
        activities=VideoActivities(
            by_video([each.vectors for each in activities]),
            by_clip([each.attention.transpose(1, 2) for each in activities]).transpose(1, 2),
        )
        if activities
        else None,
        projected=by_clip([part.projected for part in parts]),
    )


def _pad_and_join(tensors: list[Tensor], clips: int) -> Tensor:
    """Join tensors (V, T, ...) along V, with zeros after the last clip of those that have fewer."""
    if all(values.shape[1] == clips for values in tensors):
        return torch.cat(tensors)
    first = tensors[0]
    joined = first.new_zeros(sum(map(len, tensors)), clips, *first.shape[2:])
    row = 0
    for values in tensors:
        joined[row : row + len(values), : values.shape[1]] = values
        row += len(values)
    return joined


def _copy(tensors: list[Tensor]) -> Tensor:
    return tensors[0].clone(memory_format=torch.contiguous_format)


def _tensors(videos: PreparedVideos) -> Iterator[Tensor]:
    for values in (*videos.encoded, videos.contrast, videos.objects, *(videos.activities or ()), videos.projected):
        if values is not None:
            yield values
