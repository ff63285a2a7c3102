"""The memory of the moments of all training pairs: slots, relations, and what its loss pulls together."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from mttsg_core.modeling.moment_memory import MomentMemory, mining_loss

PAIRS, VIDEOS = torch.tensor([0, 1, 5]), torch.tensor([0, 0, 2])


def directions(count: int, seed: int = 0) -> torch.Tensor:
    return normalize(torch.randn(count, 4, generator=torch.Generator().manual_seed(seed)), dim=-1)


@pytest.fixture
def memory() -> MomentMemory:
    filled = MomentMemory(8, 4, momentum=0.5)
    filled.store(PAIRS, VIDEOS, directions(3), directions(3, 1))
    return filled


def test_an_entry_lies_at_the_slot_of_its_pair(memory: MomentMemory) -> None:
    assert memory.pairs.tolist() == [0, 1, -1, -1, -1, 5, -1, -1]
    assert memory.videos.tolist() == [0, 0, -1, -1, -1, 2, -1, -1]
    torch.testing.assert_close(memory.text[PAIRS], directions(3))
    torch.testing.assert_close(memory.moment[PAIRS], directions(3, 1))


def test_half_of_an_entry_stays_when_its_pair_is_seen_again(memory: MomentMemory) -> None:
    memory.store(PAIRS[:1], VIDEOS[:1], directions(1, 2), directions(1, 3))
    torch.testing.assert_close(memory.text[0], normalize(directions(3)[0] + directions(1, 2)[0], dim=0))
    torch.testing.assert_close(memory.text[1], directions(3)[1])


def test_a_pair_that_shares_a_slot_replaces_the_other(memory: MomentMemory) -> None:
    memory.store(torch.tensor([8]), torch.tensor([7]), directions(1, 2), directions(1, 3))
    assert (int(memory.pairs[0]), int(memory.videos[0])) == (8, 7)
    torch.testing.assert_close(memory.text[0], directions(1, 2)[0])


def test_own_entries_and_those_of_other_videos(memory: MomentMemory) -> None:
    text = directions(3, 6)
    scores, own, others = memory.relations(text, torch.tensor([1, 5, 6]), torch.tensor([[0, 0], [2, 0], [3, 3]]))
    torch.testing.assert_close(scores, text @ memory.text.T)
    assert own.nonzero().tolist() == [[0, 1], [1, 5]]
    assert others.nonzero().tolist() == [[0, 5], [2, 0], [2, 1], [2, 5]], "no entry of a video that is shown"


def test_equal_sentences_of_other_videos_pull_their_moments_together(memory: MomentMemory) -> None:
    """Pair 5 says the same as pair 1: the moment of pair 1 is drawn to pair 5, and away from it if it is a negative."""
    moment = directions(1, 4).requires_grad_()
    text = directions(3)[1:2]
    own = torch.zeros(1, 8, dtype=torch.bool).index_fill(1, torch.tensor([1]), True)
    fifth = torch.zeros(1, 8, dtype=torch.bool).index_fill(1, torch.tensor([5]), True)
    first = torch.zeros(1, 8, dtype=torch.bool).index_fill(1, torch.tensor([0]), True)

    def change(positives: torch.Tensor, negatives: torch.Tensor) -> float:
        """Return how the cosine with the sentence of pair 5 changes along the gradient's descent."""
        [gradient] = torch.autograd.grad(mining_loss(memory, text, moment, positives, negatives, 0.1), moment)
        return float(-gradient[0] @ memory.text[5])

    assert change(fifth, first) > 0 > change(own, fifth)
    assert change(own, first) == pytest.approx(change(own | fifth & ~fifth, first)), "a neutral pair takes no part"


def test_a_memory_without_positives_or_negatives_costs_nothing(memory: MomentMemory) -> None:
    nothing = torch.zeros(2, 8, dtype=torch.bool)
    assert float(mining_loss(memory, directions(2), directions(2), nothing, nothing, 0.1)) == 0
    assert float(mining_loss(MomentMemory(8, 4, 0.5), directions(2), directions(2), nothing, ~nothing, 0.1)) == 0
