"""Building blocks over ragged axes. A mask is True at valid entries; padding never changes a result."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from mttsg_core.data.share import WHOLE, Share

_SHORTEST = 1e-12  # length that a vector is divided by, at least
_GATE_BIASES = (-1.0, 2.5)  # initial biases of the gates of a recurrent layer, from quickly to slowly forgetting


def masked_softmax(logits: Tensor, mask: Tensor, dim: int = -1) -> Tensor:
    """Return the softmax over the entries where `mask` (broadcast to `logits`) is True, and zero elsewhere."""
    weights = torch.where(mask, logits, torch.finfo(logits.dtype).min).softmax(dim)
    return weights * mask


def masked_log_softmax(logits: Tensor, mask: Tensor, dim: int = -1) -> Tensor:
    """Return the logarithm of `masked_softmax`, and a large negative number where the mask is False."""
    return torch.where(mask, logits, torch.finfo(logits.dtype).min / 2).log_softmax(dim)


def masked_mean(values: Tensor, mask: Tensor, dim: int) -> Tensor:
    """Return the mean over the entries of `dim` where `mask`, with as many axes as `values`, is True."""
    return (values * mask).sum(dim) / mask.sum(dim).clamp_min(1)


def tanh_(x: Tensor) -> Tensor:
    """Return the hyperbolic tangent of `x`, using its memory: by the sigmoid, which takes half the time on a CPU."""
    if x.device.type != "cpu":
        return x.tanh_()
    return (2 * x.mul_(2).sigmoid_()).sub_(1)


def random_steps(mask: Tensor, drawn: Tensor) -> Tensor:
    """Return one valid step of each of X equal parts of every row of `mask` (B, T), drawn (B, X) in 0..1: (B, X)."""
    lengths, count = mask.sum(1, keepdim=True), drawn.shape[1]
    positions = torch.arange(count, device=mask.device) + drawn
    return torch.minimum((positions / count * lengths).long(), lengths - 1)


def unit_length(x: Tensor) -> Tensor:
    """Return vectors (..., C) at length 1, and zeros as zeros: `normalize` with a gradient of a third of the work."""
    result: Tensor = _UnitLength.apply(x)  # type: ignore[no-untyped-call]
    return result


class _UnitLength(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        length = x.norm(dim=-1, keepdim=True).clamp_min(_SHORTEST)
        unit = x / length
        ctx.save_for_backward(unit, length)
        return unit

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        [gradient], (unit, length) = gradients, ctx.saved_tensors
        along = (gradient * unit).sum(-1, keepdim=True)
        return torch.addcmul(gradient, unit, along, value=-1) / length


class ChannelDropout(nn.Module):
    """Drops channels of (B, D), or of (B, T, D) for all T steps at once."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` with a share of its channels set to zero in training, and the others scaled up."""
        if not self.training or self.share == 0:
            return x
        shape = (x.shape[0], 1, x.shape[-1]) if x.ndim == 3 else x.shape
        keep = x.new_empty(shape).bernoulli_(1 - self.share)
        return x * keep.div_(1 - self.share)


class LocalBlock(nn.Module):
    """A residual convolution over neighbouring steps of (B, T, D)."""

    def __init__(self, width: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv1d(width, width, kernel, padding=kernel // 2)
        self.mix = nn.Linear(width, width)
        self.dropout = ChannelDropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map x (B, T, D) with mask (B, T) to (B, T, D), zero where the mask is False."""
        valid = mask[..., None]
        hidden = self.conv((self.norm(x) * valid).transpose(1, 2)).transpose(1, 2)
        return (x + self.dropout(self.mix(nn.functional.gelu(hidden)))) * valid


class BiMinGRU(nn.Module):
    """A bidirectional minimal GRU over ragged sequences: (B, T, D_in) to (B, T, width), zero where the mask is False.

    Feng et al., "Were RNNs All We Needed?" (arXiv 2410.01201): h_t = k_t h_{t-1} + (1 - k_t) tanh(W x_t + b) with
    k_t = sigmoid(W_k x_t + b_k). The gate depends on the input alone, so all matrix products are computed at once and
    only elementwise products go from step to step. Training takes a quarter less time than with a GRU.

    All of it is computed in the precision of the weights, within autocast too: a state is a product of many gates.
    """

    def __init__(self, input_width: int, width: int) -> None:
        super().__init__()
        self.keep = nn.Linear(input_width, width)
        self.new = nn.Linear(input_width, width)
        with torch.no_grad():  # one half of the channels runs forward, the other backward
            self.keep.bias.copy_(torch.linspace(*_GATE_BIASES, width // 2).repeat(2))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map x (B, T, D_in) with mask (B, T), True at the first steps of each row, to (B, T, width)."""
        with torch.autocast(x.device.type, enabled=False):
            x = x.transpose(0, 1).to(self.keep.weight.dtype).contiguous()  # (T, B, D_in)
            valid = mask.T[..., None]  # (T, B, 1)
            keep = self.keep(x).sigmoid_()  # (T, B, width)
            new = tanh_(self.new(x))
            new = new.addcmul(keep, new, value=-1) * valid  # padding adds nothing, so the backward half may start in it
            recurrence = _Recurrence if x.device.type == "cpu" else _ScannedRecurrence
            states: Tensor = recurrence.apply(keep, new)  # type: ignore[no-untyped-call]
            return (states * valid).transpose(0, 1)


class _Recurrence(torch.autograd.Function):
    """h_t = keep_t h_{t-1} + new_t over (T, B, D), from 0; the second half of the channels runs backward.

    Recording every step for autograd would take several times as long.
    """

    @staticmethod
    def forward(ctx: Any, keep: Tensor, new: Tensor) -> Tensor:
        states = torch.empty_like(new)
        for keep_steps, new_steps, state_steps in _both_directions(keep, new, states):
            state = torch.zeros_like(new_steps[0])
            for kept, added, out in zip(keep_steps, new_steps, state_steps, strict=True):
                state = torch.addcmul(added, kept, state, out=out)
        ctx.save_for_backward(keep, states)
        return states

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        [gradient], (keep, states) = gradients, ctx.saved_tensors
        of_new, of_keep = torch.empty_like(keep), torch.empty_like(keep)
        for grad, keeps, before, of_new_steps, of_keep_steps in _both_directions(
            gradient, keep, states, of_new, of_keep
        ):
            later = kept = torch.zeros_like(keeps[0])
            for step in range(len(keeps) - 1, -1, -1):
                later = torch.addcmul(grad[step], kept, later, out=of_new_steps[step])
                kept = keeps[step]
                if step:
                    torch.mul(later, before[step - 1], out=of_keep_steps[step])
            of_keep_steps[0].zero_()
        return of_keep, of_new


def _both_directions(*tensors: Tensor) -> Iterator[list[tuple[Tensor, ...]]]:
    """Yield the steps of (T, B, D) in the order in which the first half of the channels takes them, then the second."""
    halves = [tensor.chunk(2, dim=-1) for tensor in tensors]
    yield [forward.unbind() for forward, _ in halves]
    yield [backward.unbind()[::-1] for _, backward in halves]


class _ScannedRecurrence(torch.autograd.Function):
    """`_Recurrence` in 2 log2(T) steps: for a GPU, where the number of steps counts and not the work in one."""

    @staticmethod
    def forward(ctx: Any, keep: Tensor, new: Tensor) -> Tensor:
        states = _in_order(scan_(_in_order(keep), _in_order(new)))
        ctx.save_for_backward(keep, states)
        return states

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        [gradient], (keep, states) = gradients, ctx.saved_tensors
        later = _in_order(keep, backward=True).roll(1, 0)  # a state has the gradient of the next one, times its gate
        of_new = _in_order(scan_(later, _in_order(gradient, backward=True)), backward=True)
        half, of_keep = keep.shape[-1] // 2, torch.zeros_like(keep)
        torch.mul(of_new[1:, ..., :half], states[:-1, ..., :half], out=of_keep[1:, ..., :half])
        torch.mul(of_new[:-1, ..., half:], states[1:, ..., half:], out=of_keep[:-1, ..., half:])
        return of_keep, of_new


def _in_order(x: Tensor, *, backward: bool = False) -> Tensor:
    """Copy (T, B, D) so that both halves of the channels take their steps in the order of the first axis, or back."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first.flip(0), second] if backward else [first, second.flip(0)], dim=-1)


def scan_(keep: Tensor, new: Tensor) -> Tensor:
    """Compute h_t = keep_t h_{t-1} + new_t over the first axis, from 0, in the memory of both arguments.

    Neighbours are joined to blocks of 2, 4, 8 ... steps, and then what is before a block is added to the steps within
    it (Brent and Kung, "A Regular Layout for Parallel Adders", 1982): less than 2 log2(T) dependent steps, O(T) work.

    >>> scan_(torch.tensor([9.0, 2.0, 3.0]), torch.tensor([1.0, 1.0, 1.0])).tolist()
    [1.0, 3.0, 10.0]
    """
    steps, size = len(new), 1
    while 2 * size <= steps:
        second = slice(2 * size - 1, None, 2 * size)  # the last steps of the second halves of blocks
        first = slice(size - 1, steps - size, 2 * size)
        new[second].addcmul_(keep[second], new[first])
        keep[second].mul_(keep[first])
        size *= 2
    while size >= 1:
        if 3 * size <= steps:
            new[3 * size - 1 :: 2 * size].addcmul_(
                keep[3 * size - 1 :: 2 * size], new[2 * size - 1 : steps - size : 2 * size]
            )
        size //= 2
    return new


class AttentionPool(nn.Module):
    """A learned weighted mean over the steps of (B, L, D)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, 1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Pool x (B, L, D) with mask (B, L) to (B, D)."""
        weights = masked_softmax(self.score(x).squeeze(-1), mask)  # (B, L)
        return torch.einsum("bl,bld->bd", weights, x)


class QueryGroups:
    """Groups queries, so that they are multiplied with the features of their video in one product.

    On a CPU the queries of a video are a group: nothing is copied. On a GPU each query is a group of its own, with a
    copy of what it needs of its video: no shape then depends on numbers that only the GPU knows, and less is launched.

    Args:
        video_index: (N,) video of each query.
        videos: V, the number of videos.

    Attributes:
        is_by_video: whether a group is a video; the number of groups G is then V, else N.
        size: Q, the number of queries of the largest group.
    """

    def __init__(self, video_index: Tensor, videos: int) -> None:
        self.video_index = video_index
        self.videos = videos
        self.is_by_video = video_index.device.type == "cpu"
        self.size = 1
        self.is_in_order = False
        if self.is_by_video:
            counts = nn.functional.one_hot(video_index, videos).cumsum(0)  # (N, V)
            number = counts.gather(1, video_index[:, None]).squeeze(1) - 1  # (N,) of each query within its video
            self.size = int(number.max()) + 1 if len(video_index) else 0
            self.slot = video_index * self.size + number  # (N,) position among V * Q
            is_full = len(video_index) == videos * self.size
            self.is_in_order = is_full and bool((video_index.diff() >= 0).all())  # then grouping moves nothing

    def group(self, values: Tensor) -> Tensor:
        """Arrange (N, ...) as (G, Q, ...), zeros in the slots without a query."""
        if not self.is_by_video:
            return values[:, None]
        if self.is_in_order:
            return values.unflatten(0, (self.videos, self.size))
        empty = values.new_zeros(self.videos * self.size, *values.shape[1:])
        return empty.index_copy(0, self.slot, values).unflatten(0, (self.videos, self.size))

    def ungroup(self, grouped: Tensor) -> Tensor:
        """Arrange (G, Q, ...) as (N, ...), the inverse of `group`."""
        values = grouped.flatten(0, 1)
        return values if self.is_in_order or not self.is_by_video else values.index_select(0, self.slot)

    def of_group(self, values: Tensor) -> Tensor:
        """Return (G, ...), what each group needs of (V, ...)."""
        return values if self.is_by_video else values.index_select(0, self.video_index)

    def of_video(self, values: Tensor) -> Tensor:
        """Repeat (V, ...) as (N, ...), each query with the values of its video; of a single video without a copy."""
        if self.is_in_order:
            return values[:, None].expand(-1, self.size, *values.shape[1:]).flatten(0, 1)
        return values.index_select(0, self.video_index)

    def product(self, queries: Tensor, videos: Tensor) -> Tensor:
        """Multiply each query's matrix (or vector) by that of its video: (N, ..., C) and (V, C, X) to (N, ..., X)."""
        grouped, own = self.group(queries), self.of_group(videos)  # (G, Q, ..., C), (G, C, X)
        product = grouped.reshape(len(own), -1, queries.shape[-1]) @ own  # (G, Q * ..., X)
        return self.ungroup(product.reshape(*grouped.shape[:-1], videos.shape[-1]))


def contrastive_loss(logits: Tensor, positives: Tensor, negatives: Tensor, share: Share = WHOLE) -> Tensor:
    """Return InfoNCE of rows with several positives, each against the negatives of its row alone.

    Args:
        logits: (N, M), or (X, N, M) of several comparisons, whose losses are added.
        positives, negatives: (N, M) masks; a pair that is neither takes no part.
        share: which rows of a batch these are.

    Returns:
        The share in the mean over the rows that have both.
    """
    lowest = torch.finfo(logits.dtype).min / 4
    rest = torch.where(negatives, logits, lowest).logsumexp(-1, keepdim=True)  # (X, N, 1)
    each = nn.functional.softplus(rest - logits)  # (X, N, M) -log of a positive's share
    usable = positives & negatives.any(1, keepdim=True)
    count = usable.sum(1, keepdim=True)  # (N, 1)
    loss = (each * (usable / count.clamp_min(1))).sum()
    return share.part(loss, (count > 0).sum())


def symmetric_contrastive_loss(logits: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
    """Return the mean of `contrastive_loss` from rows to columns and from columns to rows."""
    forward = contrastive_loss(logits, positives, negatives)
    backward = contrastive_loss(logits.mT, positives.T, negatives.T)
    return 0.5 * (forward + backward)


def own_video_mask(video_index: Tensor, videos: int) -> Tensor:
    """Return (N, V), True at the video of each query."""
    return video_index[:, None] == torch.arange(videos, device=video_index.device)
