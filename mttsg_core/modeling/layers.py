"""Building blocks over ragged axes. A mask is True where there is something; padding never changes a result."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

_FORGETTING = (-1.0, 2.5)  # first biases of the gates of a recurrent layer


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


def drawn_steps(mask: Tensor, count: int) -> Tensor:
    """(B, count) steps where `mask` (B, T) is True, one at random of each of `count` equal parts of the row."""
    lengths = mask.sum(1, keepdim=True)
    parts = torch.arange(count, device=mask.device) + torch.rand(len(mask), count, device=mask.device)
    return torch.minimum((parts / count * lengths).long(), lengths - 1)


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
        return x * kept.div_(1 - self.share)


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


class BiMinGRU(nn.Module):
    """A bidirectional minimal GRU over ragged sequences: (B, T, D_in) to (B, T, width), zero where the mask is False.

    Feng et al., "Were RNNs All We Needed?" (arXiv 2410.01201): h_t = k_t h_{t-1} + (1 - k_t) tanh(W x_t + b) with
    k_t = sigmoid(W_k x_t + b_k). As the gate looks at the input alone, all products are made at once, and only
    multiplications of entries go from step to step. Training takes a quarter less time than with a GRU.
    """

    def __init__(self, input_width: int, width: int) -> None:
        super().__init__()
        self.keep = nn.Linear(input_width, width)
        self.new = nn.Linear(input_width, width)
        with torch.no_grad():  # half of the entries go ahead, half go back, from quickly to slowly forgetting ones
            self.keep.bias.copy_(torch.linspace(*_FORGETTING, width // 2).repeat(2))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, T, D_in) and mask (B, T), True at the first steps of each row."""
        x, there = x.transpose(0, 1), mask.T[..., None]  # (T, B, D_in), (T, B, 1)
        keep = self.keep(x).sigmoid()  # (T, B, width)
        new = (1 - keep) * self.new(x).tanh() * there  # nothing comes from the padding, so the way back may begin there
        states: Tensor = _Recurrence.apply(keep, new)  # type: ignore[no-untyped-call]
        return (states * there).transpose(0, 1)


class _Recurrence(torch.autograd.Function):
    """h_t = keep_t h_{t-1} + new_t over (T, B, D), from 0; the second half of the entries goes from the last step back.

    Recording every step would take several times as long.
    """

    @staticmethod
    def forward(ctx: Any, keep: Tensor, new: Tensor) -> Tensor:
        states = torch.empty_like(new)
        for keeps, news, here in _both_ways(keep, new, states):
            state = torch.zeros_like(news[0])
            for kept, added, out in zip(keeps, news, here, strict=True):
                state = torch.addcmul(added, kept, state, out=out)
        ctx.save_for_backward(keep, states)
        return states

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        [gradient], (keep, states) = gradients, ctx.saved_tensors
        of_new, of_keep = torch.empty_like(keep), torch.empty_like(keep)
        for given, keeps, before, new_here, keep_here in _both_ways(gradient, keep, states, of_new, of_keep):
            later = kept = torch.zeros_like(keeps[0])
            for step in range(len(keeps) - 1, -1, -1):
                later = torch.addcmul(given[step], kept, later, out=new_here[step])
                kept = keeps[step]
                if step:
                    torch.mul(later, before[step - 1], out=keep_here[step])
            keep_here[0].zero_()
        return of_keep, of_new


def _both_ways(*tensors: Tensor) -> Iterator[list[tuple[Tensor, ...]]]:
    """The steps of (T, B, D) in the order in which the first half of the entries takes them, then the second half."""
    halves = [tensor.chunk(2, dim=-1) for tensor in tensors]
    yield [ahead.unbind() for ahead, _ in halves]
    yield [back.unbind()[::-1] for _, back in halves]


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
        number = same.gather(1, video_index[:, None]).squeeze(1) - 1  # (N,) of each query among its video's
        self.size = int(number.max()) + 1 if len(video_index) else 0
        self.slot = video_index * self.size + number  # (N,) where it stands among V * Q

    def group(self, values: Tensor) -> Tensor:
        """(N, ...) to (V, Q, ...), zeros in the places that no query has."""
        empty = values.new_zeros(self.videos * self.size, *values.shape[1:])
        return empty.index_copy(0, self.slot, values).unflatten(0, (self.videos, self.size))

    def ungroup(self, grouped: Tensor) -> Tensor:
        """(V, Q, ...) to (N, ...), the inverse of `group`."""
        return grouped.flatten(0, 1).index_select(0, self.slot)

    def of_video(self, values: Tensor) -> Tensor:
        """(V, ...) to (N, ...), those of each query's video."""
        return values.index_select(0, self.video_index)

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


def own_video_mask(video_index: Tensor, videos: int) -> Tensor:
    """(N, V) True at each query's own video."""
    return video_index[:, None] == torch.arange(videos, device=video_index.device)
