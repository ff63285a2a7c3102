"""Building blocks over ragged axes. A mask is True where there is something; padding never changes a result."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def masked_softmax(logits: Tensor, mask: Tensor, dim: int = -1) -> Tensor:
    """Softmax over the entries where `mask` (broadcast to `logits`) is True; zero elsewhere."""
    weights = logits.masked_fill(~mask, torch.finfo(logits.dtype).min).softmax(dim)
    return weights * mask


def masked_log_softmax(logits: Tensor, mask: Tensor, dim: int = -1) -> Tensor:
    """Logarithm of `masked_softmax`; a large negative number where the mask is False."""
    return logits.masked_fill(~mask, torch.finfo(logits.dtype).min / 2).log_softmax(dim)


def masked_mean(values: Tensor, mask: Tensor, dim: int) -> Tensor:
    """Mean over the entries of `dim` where `mask`, of as many axes as `values`, is True."""
    return (values * mask).sum(dim) / mask.sum(dim).clamp_min(1)


class ChannelDropout(nn.Module):
    """Drops channels of (B, D), or of (B, T, D) for all of the T steps at once."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.share == 0:
            return x
        shape = (x.shape[0], 1, x.shape[-1]) if x.ndim == 3 else x.shape
        kept = x.new_empty(shape).bernoulli_(1 - self.share)
        return x * kept / (1 - self.share)


class LocalBlock(nn.Module):
    """A residual convolution over neighbouring steps of (B, T, D)."""

    def __init__(self, width: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv1d(width, width, kernel, padding=kernel // 2)
        self.mix = nn.Linear(width, width)
        self.dropout = ChannelDropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, T, D) and mask (B, T) to (B, T, D), zero where the mask is False."""
        there = mask[..., None]
        hidden = self.conv((self.norm(x) * there).transpose(1, 2)).transpose(1, 2)
        return (x + self.dropout(self.mix(nn.functional.gelu(hidden)))) * there


class BiGRU(nn.Module):
    """A bidirectional GRU over ragged sequences: (B, T, D_in) to (B, T, width), zero where the mask is False.

    Each row is turned around by itself for the backward direction. Packed sequences would do the same, but their
    gradient takes time in the square of T on the CPU.
    """

    def __init__(self, input_width: int, width: int) -> None:
        super().__init__()
        self.ahead = nn.GRU(input_width, width // 2, batch_first=True)
        self.back = nn.GRU(input_width, width // 2, batch_first=True)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, T, D_in) and mask (B, T), True at the first steps of each row."""
        lengths = mask.sum(1, keepdim=True)
        step = torch.arange(x.shape[1], device=x.device)
        turned = torch.where(step < lengths, lengths - 1 - step, step)[..., None]  # (B, T, 1) its own inverse
        backward, _ = self.back(x.gather(1, turned.expand_as(x)))
        forward, _ = self.ahead(x)
        both = torch.cat([forward, backward.gather(1, turned.expand_as(backward))], dim=-1)
        return both * mask[..., None]


class AttentionPool(nn.Module):
    """A learned weighted mean over the steps of (B, L, D)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, 1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, L, D) and mask (B, L) to (B, D)."""
        weights = masked_softmax(self.score(x).squeeze(-1), mask)  # (B, L)
        return torch.einsum("bl,bld->bd", weights, x)


class QueryGroups:
    """The queries of each video side by side, so that they meet its features in one product without a copy.

    Args:
        video_index: (N,) the video of each query.
        videos: V, how many there are.
    """

    def __init__(self, video_index: Tensor, videos: int) -> None:
        same = torch.nn.functional.one_hot(video_index, videos).cumsum(0)  # (N, V)
        self.video_index = video_index
        self.videos = videos
        self.slot = same.gather(1, video_index[:, None]).squeeze(1) - 1  # (N,) its place among its video's queries
        self.size = int(self.slot.max()) + 1 if len(video_index) else 0

    def group(self, values: Tensor) -> Tensor:
        """(N, ...) to (V, Q, ...), zeros in the places that no query has."""
        grouped = values.new_zeros(self.videos, self.size, *values.shape[1:])
        return grouped.index_put((self.video_index, self.slot), values)

    def ungroup(self, grouped: Tensor) -> Tensor:
        """(V, Q, ...) to (N, ...), the inverse of `group`."""
        return grouped[self.video_index, self.slot]

    def product(self, queries: Tensor, videos: Tensor) -> Tensor:
        """Each query's matrix (or vector) times that of its video: (N, ..., C) and (V, C, X) to (N, ..., X)."""
        grouped = self.group(queries)  # (V, Q, ..., C)
        product = grouped.reshape(self.videos, -1, queries.shape[-1]) @ videos  # (V, Q * ..., X)
        return self.ungroup(product.reshape(*grouped.shape[:-1], videos.shape[-1]))


def contrastive_loss(logits: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
    """InfoNCE of rows with several positives, each against the row's negatives alone; the mean over rows with both.

    Args:
        logits: (N, M).
        positives, negatives: (N, M) masks; a pair in neither takes no part.
    """
    lowest = torch.finfo(logits.dtype).min / 4
    rest = logits.masked_fill(~negatives, lowest).logsumexp(1, keepdim=True)  # (N, 1)
    each = torch.nn.functional.softplus(rest - logits)  # (N, M) -log of a positive's share
    usable = positives & negatives.any(1, keepdim=True)
    rows = usable.any(1)
    loss = masked_mean(each.masked_fill(~usable, 0), usable, dim=1)  # (N,)
    return loss.sum() / rows.sum().clamp_min(1)


def symmetric_contrastive_loss(logits: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
    """`contrastive_loss` from rows to columns and from columns to rows."""
    ahead = contrastive_loss(logits, positives, negatives)
    back = contrastive_loss(logits.T, positives.T, negatives.T)
    return 0.5 * (ahead + back)


def own_columns(video_index: Tensor, videos: int) -> Tensor:
    """(N, V) True at each query's own video."""
    return video_index[:, None] == torch.arange(videos, device=video_index.device)
