"""The space of a pretrained joint model: curves, votes, and a network that starts from the answer without training."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from mttsg_core.config import NetworkConfig, with_earlier_values
from mttsg_core.modeling.layers import QueryGroups
from mttsg_core.modeling.proposals import proposal_edges, select_proposals, span_iou
from mttsg_core.modeling.shared_space import SharedSpace, best_vote, relevance_of, vote

CONFIG = NetworkConfig(clip_dim=16, word_dim=16, head_width=8, joint=True)
SECONDS = torch.tensor([150.0])  # of a video of 75 clips


def mask_of(*lengths: int) -> Tensor:
    return torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


def scene(start: int, end: int, clips: int, noise: float = 0.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return clips (clips, 16), those from `start` to `end` like the sentence (16,), the others like another one."""
    draw = torch.Generator().manual_seed(seed)
    sentence, other = normalize(torch.randn(2, 16, generator=draw), dim=-1)
    inside = (torch.arange(clips) >= start) & (torch.arange(clips) < end)
    video = torch.where(inside[:, None], sentence, other) + noise * torch.randn(clips, 16, generator=draw)
    return normalize(video, dim=-1), sentence


def test_a_step_is_cut_where_it_is() -> None:
    curve = torch.zeros(1, 40)
    curve[0, 12:25] = 1
    votes = vote(curve, mask_of(40))
    assert best_vote(votes).tolist() == [[12.0, 25.0]]
    assert votes.shape == (1, 12, 2)


@pytest.mark.parametrize("clips", [1, 2, 30])
def test_a_flat_curve_votes_for_the_whole_video(clips: int) -> None:
    assert (vote(torch.full((1, clips), 0.4), mask_of(clips)) == torch.tensor([0.0, clips])).all()


def test_a_noisy_scene_is_found() -> None:
    video, sentence = scene(20, 40, 75, noise=0.15)
    alone = QueryGroups(torch.zeros(1, dtype=torch.long), 1)
    curve = relevance_of(video[None], mask_of(75), sentence[None], alone).curve
    assert float(span_iou(best_vote(vote(curve, mask_of(75)))[0], torch.tensor([20.0, 40.0]))) > 0.8


def test_padding_and_other_videos_change_nothing() -> None:
    short, first = scene(3, 9, 20, noise=0.2)
    long, second = scene(10, 30, 50, noise=0.2, seed=1)
    space = SharedSpace(CONFIG)
    assert space.scores is not None
    for weight in (space.out.weight, space.scores.score.weight):
        torch.nn.init.normal_(weight)
    space.eval()
    clips = torch.zeros(2, 50, 16)
    clips[0, :20], clips[1] = short, long
    index = torch.tensor([1, 0])
    evidence, prior = space(
        clips, mask_of(20, 50), torch.tensor([40.0, 100.0]), torch.stack([second, first]), QueryGroups(index, 2)
    )
    alone = QueryGroups(torch.zeros(1, dtype=torch.long), 1)
    expected, expected_prior = space(short[None], mask_of(20), torch.tensor([40.0]), first[None], alone)
    torch.testing.assert_close(evidence[1, :20], expected[0], atol=1e-5, rtol=1e-5)
    ends = proposal_edges(50)[1] <= 20
    torch.testing.assert_close(prior[1, ends], expected_prior[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("start", "end"), [(0, 9), (20, 44), (60, 75)])
def test_proposals_start_from_the_answer_without_training(start: int, end: int) -> None:
    video, sentence = scene(start, end, 75, noise=0.1)
    alone = QueryGroups(torch.zeros(1, dtype=torch.long), 1)
    evidence, prior = SharedSpace(CONFIG)(video[None], mask_of(75), SECONDS, sentence[None], alone)
    assert not evidence.any(), "the evidence starts at zero"
    edges = torch.stack(proposal_edges(75), dim=-1).float()
    chosen = edges[select_proposals(prior, edges[None], 1, CONFIG).proposal[0, 0]]
    answer = best_vote(vote(relevance_of(video[None], mask_of(75), sentence[None], alone).curve, mask_of(75)))[0]
    assert float(span_iou(chosen, answer)) > 0.85


def test_the_mean_of_sentences_is_taken_off() -> None:
    video, sentence = scene(20, 40, 75, noise=0.1)
    space = SharedSpace(CONFIG)
    alone = QueryGroups(torch.zeros(1, dtype=torch.long), 1)
    _, expected = space(video[None], mask_of(75), SECONDS, sentence[None] - 0.25, alone)
    space.fit(torch.full((16,), 0.25))
    _, prior = space(video[None], mask_of(75), SECONDS, sentence[None], alone)
    torch.testing.assert_close(prior, expected)


def test_a_network_of_an_earlier_version_has_no_scores_from_curves() -> None:
    network = with_earlier_values("network", {"clip_dim": 16, "word_dim": 16, "joint": True})
    assert SharedSpace(NetworkConfig(**network)).scores is None


def test_scores_from_curves_learn_where_moments_lie() -> None:
    """Moments that begin well before the curve rises are learned; the answer without training cannot know that."""
    torch.manual_seed(0)
    space = SharedSpace(CONFIG)
    alone = QueryGroups(torch.zeros(1, dtype=torch.long), 1)
    scenes = [(*scene(start, start + 12, 75, noise=0.1, seed=start), start) for start in range(14, 58, 4)]
    edges = torch.stack(proposal_edges(75), dim=-1).float()  # (P, 2)
    optimizer = torch.optim.Adam(space.parameters(), lr=0.01)
    for _ in range(30):
        for video, sentence, start in scenes[::2]:
            _, prior = space(video[None], mask_of(75), SECONDS, sentence[None], alone)
            truth = torch.tensor([start - 12.0, start + 12.0])
            labels = (10 * span_iou(edges, truth)).softmax(0)
            loss = -(labels * prior[0].log_softmax(0)).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    space.eval()
    for video, sentence, start in scenes[1::2]:
        _, prior = space(video[None], mask_of(75), SECONDS, sentence[None], alone)
        assert float(span_iou(edges[prior[0].argmax()], torch.tensor([start - 12.0, start + 12.0]))) > 0.7
