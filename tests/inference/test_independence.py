"""What holds for the whole network with all of its modules (docs/method.md, section 7)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mttsg_core.checkpoints.checkpoint import Model
from mttsg_core.config import NETWORKS, LossConfig, NetworkConfig
from mttsg_core.data.batch import VideoItem, collate, collate_targets
from mttsg_core.encoders.word_vectors import HashedWords
from mttsg_core.errors import ConfigError
from mttsg_core.features.store import VideoFeatures
from mttsg_core.inference.grounder import Grounder
from mttsg_core.inference.modes import Mode
from mttsg_core.inference.predictor import MKTNPredictor
from mttsg_core.modeling.grounding_head import decode
from mttsg_core.modeling.mktn import MKTN, build_network
from mttsg_core.training.losses import MKTNCriterion
from tests.helpers.small_networks import (
    MODULES,
    small_batch,
    small_config,
    small_item,
    small_items,
    small_losses,
    small_network,
    small_targets,
)

QUERIES = [
    f"person {verb} the {thing}" for verb in ("opens", "closes", "takes") for thing in ("door", "big box", "cup")
]
EVERY_NETWORK = pytest.mark.parametrize("network", NETWORKS)
WEIGHTS = ("proposal", "boundary", "foreground", "offset", "contrast", "intra", "presence", "objects", "activities")


def _features(clips: int, seed: int = 0) -> VideoFeatures:
    random = np.random.default_rng(seed)
    return VideoFeatures(
        clips=random.normal(size=(clips, 6)).astype(np.float32),
        regions=random.normal(size=(clips, 3, 4)).astype(np.float32),
        duration=clips * 0.7,
        fingerprint={"encoder": "test"},
    )


def _grounder(**changes: object) -> Grounder:
    words = HashedWords()
    network = small_network(word_dim=words.dim, **changes)  # type: ignore[arg-type]
    return Grounder(MKTNPredictor(Model(network, words, {"encoder": "test"})))


def _ground(grounder: Grounder, queries: list[str], mode: Mode = "independent") -> dict[str, np.ndarray]:
    answers = grounder.ground_features(_features(20), queries, mode=mode)
    return {query: np.array(moments) for query, moments in zip(queries, answers, strict=True)}


@EVERY_NETWORK
def test_a_prediction_does_not_depend_on_the_other_queries(network: str) -> None:
    grounder = _grounder(network=network)
    together, backward = _ground(grounder, QUERIES), _ground(grounder, QUERIES[::-1])
    for query in QUERIES:
        np.testing.assert_allclose(_ground(grounder, [query])[query], together[query], atol=1e-5)
        np.testing.assert_allclose(backward[query], together[query], atol=1e-5)


@pytest.mark.parametrize("mode", ["independent", "joint"])
@EVERY_NETWORK
def test_a_prediction_does_not_depend_on_other_videos(network: str, mode: Mode) -> None:
    grounder = _grounder(network=network)
    videos = [(_features(count, count), QUERIES[: 1 + count % 4]) for count in (20, 5, 31, 12, 9)]
    together = list(grounder.ground_many(videos, mode=mode))
    single = list(grounder.ground_many(videos, batch_size=1, mode=mode))
    for answers, expected_answers in zip(together, single, strict=True):
        for moments, expected in zip(answers, expected_answers, strict=True):
            np.testing.assert_allclose(moments, expected, atol=1e-5)


@EVERY_NETWORK
def test_in_joint_mode_the_other_queries_matter_and_their_order_does_not(network: str) -> None:
    grounder = _grounder(network=network)
    joint, backward = _ground(grounder, QUERIES, "joint"), _ground(grounder, QUERIES[::-1], "joint")
    for query in QUERIES:
        np.testing.assert_allclose(backward[query], joint[query], atol=1e-5)
    independent = _ground(grounder, QUERIES)
    assert any(not np.array_equal(independent[query], joint[query]) for query in QUERIES)
    single = _ground(grounder, QUERIES[:1], "joint")[QUERIES[0]]
    np.testing.assert_allclose(single, independent[QUERIES[0]], atol=1e-5)  # the only query has no others to read


def test_joint_mode_never_divides_the_queries_of_a_video(monkeypatch: pytest.MonkeyPatch) -> None:
    grounder = _grounder()
    joint, independent = _ground(grounder, QUERIES, "joint"), _ground(grounder, QUERIES)
    monkeypatch.setattr("mttsg_core.inference.predictor._MAX_CLIPS", 2 * 20)
    expectations: tuple[tuple[Mode, dict[str, np.ndarray]], ...] = (("joint", joint), ("independent", independent))
    for mode, expected in expectations:
        answers = _ground(grounder, QUERIES, mode)
        for query in QUERIES:
            np.testing.assert_allclose(answers[query], expected[query], atol=1e-5)


def test_other_modes_are_refused() -> None:
    with pytest.raises(ConfigError, match="independent or joint"):
        _ground(_grounder(), QUERIES, "ordered")  # type: ignore[arg-type]


@pytest.mark.parametrize("regions", [0, 3])
def test_padding_and_the_rest_of_the_batch_change_nothing(regions: int) -> None:
    network = small_network(regions=regions)
    items = [small_item(9, [4, 2], regions=regions, seed=1), small_item(14, [7], regions=regions, seed=2)]
    with torch.no_grad():
        alone, both = network(collate(items[:1])), network(collate(items))
    for expected, padded in (
        (alone.head.boundaries, both.head.boundaries[:2, :9]),
        (alone.head.foreground, both.head.foreground[:2, :9]),
        (alone.head.offsets, both.head.offsets[:2, :9]),
        (alone.fused.fused, both.fused.fused[:2, :9]),
        (decode(alone.head, 3, network.config)[0], decode(both.head, 3, network.config)[0][:2]),
    ):
        torch.testing.assert_close(padded, expected, atol=1e-5, rtol=0)


def test_evaluation_leaves_every_buffer_unchanged() -> None:
    network = small_network()
    before = {name: value.clone() for name, value in network.named_buffers()}
    with torch.no_grad():
        network(small_batch(), joint=True)
    assert all(torch.equal(value, before[name]) for name, value in network.named_buffers())


_REACHES = {
    "proposal": [
        *("head.proposal_score", "fusion.mix", "memory.from_memory"),
        *("contrast.out", "object_phrase.out", "activity_sentence.out"),
    ],
    "contrast": ["contrast.clip_side", "contrast.text_side", "video_encoder.project", "query_encoder.project"],
    "intra": ["contrast.clip_side", "contrast.text_side", "video_encoder.project", "query_encoder.project"],
    "objects": [
        *("object_phrase.objects.value", "object_phrase.phrase_prototypes.value", "query_encoder.project"),
    ],
    "presence": ["head.presence", "fusion.mix", "video_encoder.project", "query_encoder.project"],
    "activities": [
        *("activity_sentence.key", "activity_sentence.text_side", "video_encoder.project", "query_encoder.project"),
    ],
}


@pytest.mark.parametrize("regions", [0, 3])
@pytest.mark.parametrize("term", _REACHES)
def test_each_term_reaches_the_parameters_it_should(term: str, regions: int) -> None:
    network = small_network(regions=regions)
    config = LossConfig(**{**dict.fromkeys(WEIGHTS, 0.0), term: 1.0})  # type: ignore[arg-type]
    losses = small_losses(network, small_items(regions=regions), config)
    torch.testing.assert_close(losses.total.detach(), losses.terms[term])
    losses.total.backward()
    reached = {
        name for name, parameter in network.named_parameters() if parameter.grad is not None and parameter.grad.any()
    }
    for prefix in _REACHES[term]:
        assert any(name.startswith(prefix) for name in reached), prefix
    if term not in ("proposal", "presence"):
        assert not any(name.startswith(("head", "fusion")) for name in reached)
    if term == "objects":
        assert any(name.startswith("video_encoder.regions" if regions else "video_encoder.project") for name in reached)


@pytest.mark.parametrize("part", [*MODULES, "negatives", "offsets", "presence"])
def test_a_switched_off_part_has_no_weights_and_no_loss(part: str) -> None:
    network, whole = small_network(**NetworkConfig.switched_off([part])), small_network()
    shared = {name for name in whole.state_dict() if name in network.state_dict()}
    assert shared == network.state_dict().keys()
    losses = small_losses(network, small_items())
    if part in MODULES:
        assert getattr(network, MODULES[part]) is None
        assert not any(name.startswith(f"{MODULES[part]}.") for name in network.state_dict())
    terms = {"contrast": {"contrast", "intra"}, "offsets": {"offset"}, "mining": set(), "negatives": set()}
    assert set(losses.terms) == set(WEIGHTS) - terms.get(part, {part})
    if part == "offsets":
        assert network.head.offsets is None
    if part == "presence":
        assert network.head.presence is None
    statistics = {"negatives": {"phi", "phi_same", "dropped"}, "mining": {"gate"}}
    assert losses.statistics.keys() == {"phi", "phi_same", "dropped", "gate"} - statistics.get(part, set())
    losses.total.backward()


def test_with_all_modules_off_encoders_fusion_and_head_remain() -> None:
    network = small_network(**NetworkConfig.switched_off([*MODULES, "negatives"]))
    assert {name.partition(".")[0] for name in network.state_dict()} == {
        "video_encoder",
        "query_encoder",
        "region_attention",
        "fusion",
        "head",
    }


@pytest.mark.parametrize("module", [name for switch, name in MODULES.items() if switch != "mining"])
def test_a_fresh_module_does_not_change_the_prediction(module: str) -> None:
    torch.manual_seed(0)
    network = build_network(small_config()).eval()
    batch = small_batch()
    before = network(batch).head.proposals
    setattr(network, module, None)
    torch.testing.assert_close(network(batch).head.proposals, before)


def test_only_the_head_reads_what_is_retrieved_from_the_memory() -> None:
    network, batch = small_network(), small_batch()
    assert network.memory is not None
    with torch.no_grad():
        before = network(batch)
        network.memory.queue.normal_()
        after = network(batch)
    assert not torch.allclose(after.fused.fused, before.fused.fused, atol=1e-3)
    assert before.fused.own_clips is not None
    assert after.fused.own_clips is not None
    torch.testing.assert_close(after.fused.own_clips.vectors, before.fused.own_clips.vectors)
    torch.testing.assert_close(after.queries.phrases, before.queries.phrases)
    torch.testing.assert_close(after.queries.activity, before.queries.activity)


def test_the_memory_is_in_the_state_of_the_network_and_phi_in_that_of_the_criterion() -> None:
    network, batch = small_network().train(), small_batch()
    criterion = MKTNCriterion(LossConfig(), network.config)
    for _ in range(3):
        criterion(network(batch), small_targets())
    state = network.state_dict()
    assert int((state["memory.sources"] != -1).sum()) == 12
    assert not any("threshold" in name for name in state)
    other = build_network(network.config)
    other.load_state_dict(state)
    with torch.no_grad():
        torch.testing.assert_close(other.eval()(batch).head.proposals, network.eval()(batch).head.proposals)
    criterion_state = criterion.state_dict()
    assert int(criterion_state["false_negative_filter.thresholds.updates"]) == 3
    restored = MKTNCriterion(LossConfig(), network.config)
    restored.load_state_dict(criterion_state)
    output = network.train()(batch)
    first, second = (part.eval()(output, small_targets()) for part in (criterion, restored))
    assert torch.equal(first.total, second.total)
    assert torch.equal(first.statistics["phi"], second.statistics["phi"])


def _assert_answers_inside(network: MKTN, item: VideoItem) -> None:
    clips = len(item.features.clips)
    with torch.no_grad():
        spans, scores = decode(network(collate([item]), joint=True).head, 3, network.config)
    assert spans.isfinite().all()
    assert scores.isfinite().all()
    assert (spans[..., 0] < spans[..., 1]).all()
    assert (spans >= 0).all()
    assert (spans <= clips).all()


@pytest.mark.parametrize("regions", [0, 3])
@pytest.mark.parametrize(("clips", "words"), [(1, [1]), (1, [3, 1]), (2000, [1, 5])])
def test_extreme_sizes_give_valid_spans_finite_losses_and_gradients(clips: int, words: list[int], regions: int) -> None:
    network, item = small_network(regions=regions), small_item(clips, words, regions=regions)
    _assert_answers_inside(network, item)
    losses = small_losses(network, [item])
    losses.total.backward()
    assert losses.total.isfinite()
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    torch.optim.SGD(network.parameters(), lr=0.01).step()
    _assert_answers_inside(network.eval(), item)


def test_word_for_word_duplicates_leave_the_contrasts() -> None:
    """Videos differ in what their sentence says, and most sentences belong to several: phi finds those, and few others.

    Each step contrasts 32 videos, drawn from 60 sentences with replacement.
    """
    dropout = {"dropout": 0.05, "input_dropout": 0.0, "word_input_dropout": 0.05, "word_dropout": 0.0}
    off = NetworkConfig.switched_off(["mining", "objects", "activities", "presence"])
    network = small_network(regions=0, word_dim=12, **off, **dropout).train()  # type: ignore[arg-type]
    weights = {**dict.fromkeys(WEIGHTS, 0.0), "contrast": 1.0}
    criterion = MKTNCriterion(LossConfig(**weights), network.config)  # type: ignore[arg-type]
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    random = np.random.default_rng(0)
    sentences = [random.normal(size=(4, 12)).astype(np.float32) for _ in range(60)]
    appearances = random.normal(size=(60, 6)).astype(np.float32)
    dropped: dict[bool, list[torch.Tensor]] = {True: [], False: []}
    for step in range(240):
        drawn = random.integers(0, 60, 32)
        items = []
        for number, kind in enumerate(drawn):
            item = small_item(3, [1], regions=0, seed=step * 32 + number)
            features = replace(item.features, clips=0.3 * item.features.clips + appearances[kind])
            items.append(replace(item, words=[sentences[kind]], features=features))
        targets = collate_targets(items)
        output = network(collate(items))
        optimizer.zero_grad()
        criterion(output, targets).total.backward()
        optimizer.step()
        if step >= 225:
            pairs = criterion.false_negatives(output).pairs
            same = torch.from_numpy(drawn[:, None] == drawn[None])
            dropped[True].append(pairs[same & ~torch.eye(32, dtype=torch.bool)])
            dropped[False].append(pairs[~same])
    assert torch.cat(dropped[True]).float().mean() >= 0.8
    assert torch.cat(dropped[False]).float().mean() <= 0.1
