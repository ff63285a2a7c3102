"""What holds for every network that `NetworkConfig.network` chooses among, with and without the co-training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mttsg_core.checkpoints.checkpoint import load_model
from mttsg_core.config import NETWORKS as NAMES
from mttsg_core.config import LossConfig, NetworkConfig, from_mapping
from mttsg_core.data.batch import Batch, VideoItem, collate, collate_targets
from mttsg_core.errors import ConfigError
from mttsg_core.inference.grounder import Grounder
from mttsg_core.inference.predictor import MKTNPredictor
from mttsg_core.modeling.mktn import MKTN, build_network
from mttsg_core.modeling.networks import NETWORKS
from mttsg_core.modeling.proposals import span_iou
from mttsg_core.training.losses import MKTNCriterion
from tests.helpers.small_networks import (
    MODULES,
    small_batch,
    small_config,
    small_item,
    small_items,
    small_losses,
    small_network,
)
from tests.helpers.tiny import NO_DROPOUT, features, model, model_folder

PLAIN = NetworkConfig.switched_off([name for name in NetworkConfig.SWITCHES if name != "offsets"])
ROWS = (0, 1, 2)  # of the first video of `small_batch`
EVERY = pytest.mark.parametrize("name", NAMES)
KINDS = pytest.mark.parametrize("parts", [{}, PLAIN], ids=["co-trained", "plain"])


@torch.inference_mode()
def answers(network: MKTN, batch: Batch, top: int = 3) -> Tensor:
    """Return (N, top, 3): start and end in clips, and score."""
    spans, scores = network(batch).head.answers(top, network.config)
    return torch.cat([spans, scores[..., None]], dim=-1)


def test_there_is_a_network_for_every_name() -> None:
    assert tuple(NETWORKS) == NAMES
    assert NetworkConfig.network == "mktn"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("spam", "did you mean 'span'"),
        ("proposal_map", "did you mean 'proposal-map'"),
        ("VSLNet", "did you mean 'span'"),
        ("2D-TAN", "did you mean 'proposal-map'"),
        ("Moment-DETR", "did you mean 'query-decoder'"),
        ("xyz", "one of: mktn, proposal-map, query-decoder, span"),
        ("", "one of: mktn, proposal-map, query-decoder, span"),
    ],
)
def test_an_unknown_network_is_refused(name: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown network: '{name}'; {hint}"):
        from_mapping(NetworkConfig, {"clip_dim": 1, "word_dim": 1, "network": name})


def test_only_offsets_that_exist_can_be_left_out() -> None:
    with pytest.raises(ConfigError, match="the network span has none"):
        small_config(network="span", offsets=False)


@pytest.mark.parametrize("regions", [0, 3])
@KINDS
@EVERY
def test_answers_lie_in_the_video_apart_and_in_order(name: str, parts: dict[str, Any], regions: int) -> None:
    network = small_network(network=name, regions=regions, **parts)
    sizes = [(9, [4, 2, 6]), (1, [3]), (2, [1]), (300, [5, 1])]
    items = [small_item(clips, words, regions=regions, seed=clips) for clips, words in sizes]
    batch = collate(items)
    found = answers(network, batch, top=12)
    clips = batch.clip_mask.sum(1)[batch.video_index]  # (N,)
    spans, scores = found[..., :2], found[..., 2]
    assert found.isfinite().all()
    assert ((scores >= 0) & (scores <= 1)).all()
    assert (scores[:, 0] > 0).all()
    assert (scores.diff(dim=1) <= 0).all()
    valid = scores > 0
    assert (spans[valid][:, 0] >= 0).all()
    assert (spans[valid][:, 0] < spans[valid][:, 1]).all()
    assert (spans[..., 1] <= clips[:, None] + 1e-4)[valid].all()
    overlap = span_iou(spans[:, :, None], spans[:, None]).triu(1) * valid[:, None] * valid[..., None]
    assert (overlap <= network.config.nms_iou + 1e-6).all()


@KINDS
@EVERY
def test_padding_and_the_rest_of_the_batch_change_nothing(name: str, parts: dict[str, Any]) -> None:
    network = small_network(network=name, **parts)
    items = [small_item(9, [4, 2], seed=1), small_item(14, [7], seed=2), small_item(1, [1], seed=3)]
    together = answers(network, collate(items))
    with torch.no_grad():
        curves = network(collate(items)).head.saliency(network.config)
    row = 0
    for video in items:
        for sentence in video.words:
            batch = collate([VideoItem(video.features, [sentence])])
            torch.testing.assert_close(answers(network, batch)[0], together[row], atol=1e-5, rtol=1e-5)
            with torch.no_grad():
                [alone] = network(batch).head.saliency(network.config)
            torch.testing.assert_close(alone, curves[row, : len(alone)], atol=1e-5, rtol=1e-5)
            row += 1


@EVERY
def test_saliency_is_a_probability_of_every_clip(name: str) -> None:
    network, batch = small_network(network=name), small_batch()
    with torch.no_grad():
        curves = network(batch).head.saliency(network.config)
    assert curves.shape == (len(batch.words), batch.clip_mask.shape[1])
    assert ((curves >= 0) & (curves <= 1)).all()
    assert (curves.std(dim=1) > 0).all()


@EVERY
def test_the_answer_depends_on_the_words_and_their_order(name: str) -> None:
    network, batch = small_network(network=name, **PLAIN), small_batch()
    before = answers(network, batch)
    batch.words[ROWS[0]] = batch.words[ROWS[0]].flip(0)
    after = answers(network, batch)
    assert not torch.allclose(before[0], after[0], atol=1e-4)
    torch.testing.assert_close(before[1:], after[1:])


@pytest.mark.parametrize("regions", [0, 3])
@KINDS
@EVERY
def test_the_gradient_reaches_every_parameter(name: str, parts: dict[str, Any], regions: int) -> None:
    unreached: set[str] | None = None
    for seed in (0, 1):  # with other weights, as a rectifier may happen to be closed
        network = small_network(network=name, regions=regions, seed=seed, **parts)
        small_losses(network, small_items(regions=regions)).total.backward()
        gradients = {key: parameter.grad for key, parameter in network.named_parameters()}
        assert all(gradient is None or gradient.isfinite().all() for gradient in gradients.values())
        closed = {key for key, gradient in gradients.items() if gradient is None or not gradient.any()}
        unreached = closed if unreached is None else unreached & closed
    assert unreached is not None
    assert unreached <= {"query_encoder.pool.score.bias"}, "which moves no softmax"


@EVERY
def test_the_terms_of_the_co_training_are_the_same_around_every_network(name: str) -> None:
    config = LossConfig()
    terms = {}
    for parts in ({}, PLAIN):
        losses = small_losses(small_network(network=name, **parts), small_items(), config)
        weighted = sum(getattr(config, term) * float(value) for term, value in losses.terms.items())
        assert float(losses.total.detach()) == pytest.approx(weighted, rel=1e-5)
        terms[len(parts)] = set(losses.terms)
    assert terms[0] - terms[len(PLAIN)] == {"contrast", "intra", "objects", "activities", "presence"}


@EVERY
def test_a_part_that_is_switched_off_has_no_weights(name: str) -> None:
    whole = small_network(network=name).state_dict()
    plain = small_network(network=name, **PLAIN).state_dict()
    assert {key.partition(".")[0] for key in plain} == {
        *("video_encoder", "query_encoder", "region_attention", "fusion", "head"),
    }
    added = {key.partition(".")[0] for key in whole.keys() - plain.keys()}
    assert added == {*MODULES.values(), "head"}
    assert all(key.startswith("head.presence.") for key in whole.keys() - plain.keys() if key.startswith("head."))


@pytest.mark.parametrize("module", ["contrast", "object_phrase", "activity_sentence"])
@EVERY
def test_a_fresh_module_does_not_change_the_answer(name: str, module: str) -> None:
    torch.manual_seed(0)
    network, batch = build_network(small_config(network=name)).eval(), small_batch()
    before = answers(network, batch)
    setattr(network, module, None)
    torch.testing.assert_close(answers(network, batch), before)


@EVERY
def test_a_network_fits_a_few_videos(name: str) -> None:
    """Eight sentences of four videos, each of which names what marks its moment."""
    generator = torch.Generator().manual_seed(0)
    marks = torch.randn(4, 6, generator=generator) * 2
    items = []
    for number in range(4):
        video = small_item(16, [2, 2], regions=0, seed=number)
        video.features.clips[:] *= 0.2
        for half, mark in enumerate((marks[number], marks[(number + 1) % 4])):
            first = 8 * half + 1 + number
            video.features.clips[first : first + 4] += mark.numpy()
            video.words[half][:] = mark[:5].numpy()
            assert video.spans is not None
            video.spans[half] = first, first + 4
        items.append(video)
    torch.manual_seed(1)
    sizes = {"width": 32, "head_width": 32, "map_bins": 16, "map_width": 16, "moment_slots": 4}
    network = build_network(small_config(regions=0, network=name, **sizes, **NO_DROPOUT, **PLAIN)).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    criterion = MKTNCriterion(LossConfig(), network.config)
    batch, targets = collate(items), collate_targets(items)

    def overlap() -> float:
        best = answers(network.eval(), batch, top=1)[:, 0, :2]
        network.train()
        return float(span_iou(best, targets.spans).mean())

    before = overlap()
    for _ in range(100):
        optimizer.zero_grad()
        criterion(network(batch), targets).total.backward()
        optimizer.step()
    assert before < 0.5
    assert overlap() > 0.7


@EVERY
def test_a_model_is_the_same_after_writing_and_reading(name: str, tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "m", network=name)
    written, read = model(network=name), load_model(folder)
    assert read.network.config == written.network.config
    assert type(read.network.head) is type(written.network.head) is NETWORKS[name].head
    queries = ["a door opens", "the red thing moves"]
    grounders = [Grounder(MKTNPredictor(one)) for one in (written, read)]
    before, after = (grounder.ground_features(features(9), queries, top=3) for grounder in grounders)
    assert before == after


@EVERY
def test_a_long_video_is_answered_by_windows(name: str) -> None:
    predictor = MKTNPredictor(model(network=name))
    predictor.max_window_seconds = 10.0
    video = features(400)  # 200 seconds
    [moments] = Grounder(predictor).ground_features(video, ["a door opens"], top=5)
    assert 0 < len(moments) <= 5
    assert all(0 <= moment.start < moment.end <= 200 and moment.duration <= 11 for moment in moments)
