"""What holds for the whole network with all of its modules (method, section 7)."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from mttsg_core.checkpoints.checkpoint import Model
from mttsg_core.config import LossConfig, NetworkConfig
from mttsg_core.data.batch import collate
from mttsg_core.encoders.word_vectors import HashedWords
from mttsg_core.errors import ConfigError
from mttsg_core.features.store import VideoFeatures
from mttsg_core.inference.grounder import Grounder
from mttsg_core.inference.predictor import MKTNPredictor
from mttsg_core.modeling.grounding_head import decode
from mttsg_core.modeling.mktn import MKTN, build_network
from mttsg_core.training.losses import module_terms, objective
from tests.helpers.small_networks import MODULES, small_batch, small_config, small_item, small_network

QUERIES = [
    f"person {verb} the {thing}" for verb in ("opens", "closes", "takes") for thing in ("door", "big box", "cup")
]


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


def _answers(grounder: Grounder, queries: list[str], mode: str = "independent") -> dict[str, np.ndarray]:
    found = grounder.ground_features(_features(20), queries, mode=mode)  # type: ignore[arg-type]
    return {query: np.array(moments) for query, moments in zip(queries, found, strict=True)}


def test_a_prediction_does_not_depend_on_the_other_queries() -> None:
    grounder = _grounder()
    together, backwards = _answers(grounder, QUERIES), _answers(grounder, QUERIES[::-1])
    for query in QUERIES:
        np.testing.assert_allclose(_answers(grounder, [query])[query], together[query], atol=1e-5)
        np.testing.assert_allclose(backwards[query], together[query], atol=1e-5)


def test_a_prediction_does_not_depend_onother_videos_in_either_mode() -> None:
    grounder = _grounder()
    videos = [(_features(count, count), QUERIES[: 1 + count % 4]) for count in (20, 5, 31, 12, 9)]
    for mode in ("independent", "joint"):
        together = list(grounder.ground_many(videos, mode=mode))  # type: ignore[arg-type]
        single = list(grounder.ground_many(videos, batch_size=1, mode=mode))  # type: ignore[arg-type]
        for some, others in zip(together, single, strict=True):
            for first, second in zip(some, others, strict=True):
                np.testing.assert_allclose(first, second, atol=1e-5)


def test_joint_mode_uses_the_others_in_no_order() -> None:
    grounder = _grounder()
    joint, backwards = _answers(grounder, QUERIES, "joint"), _answers(grounder, QUERIES[::-1], "joint")
    for query in QUERIES:
        np.testing.assert_allclose(backwards[query], joint[query], atol=1e-5)
    alone = _answers(grounder, QUERIES)
    assert any(not np.array_equal(alone[query], joint[query]) for query in QUERIES)
    single = _answers(grounder, QUERIES[:1], "joint")[QUERIES[0]]
    np.testing.assert_allclose(single, alone[QUERIES[0]], atol=1e-5)  # without company there is nothing to mine


def test_joint_mode_keeps_a_video_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    grounder = _grounder()
    joint, alone = _answers(grounder, QUERIES, "joint"), _answers(grounder, QUERIES)
    monkeypatch.setattr("mttsg_core.inference.predictor._CLIPS_AT_ONCE", 2 * 20)
    for mode, expected in (("joint", joint), ("independent", alone)):
        found = _answers(grounder, QUERIES, mode)
        for query in QUERIES:
            np.testing.assert_allclose(found[query], expected[query], atol=1e-5)


def test_there_is_no_third_mode() -> None:
    with pytest.raises(ConfigError, match="independent or joint"):
        _answers(_grounder(), QUERIES, "ordered")


@pytest.mark.parametrize("regions", [0, 3])
def test_padding_and_the_rest_of_the_batch_change_nothing(regions: int) -> None:
    network = small_network(regions=regions)
    items = [small_item(9, [4, 2], regions=regions, seed=1), small_item(14, [7], regions=regions, seed=2)]
    alone, both = collate(items[:1]), collate(items)
    with torch.no_grad():
        first, second = network(alone), network(both)
    for one, two in (
        (first.head.boundaries, second.head.boundaries[:2, :9]),
        (first.head.inside, second.head.inside[:2, :9]),
        (first.head.offsets, second.head.offsets[:2, :9]),
        (first.meeting.fused, second.meeting.fused[:2, :9]),
    ):
        torch.testing.assert_close(two, one, atol=1e-5, rtol=0)
    torch.testing.assert_close(decode(second.head, 3)[0][:2], decode(first.head, 3)[0], atol=1e-5, rtol=0)


def test_evaluation_leaves_every_buffer_alone() -> None:
    network = small_network()
    before = {name: value.clone() for name, value in network.named_buffers()}
    with torch.no_grad():
        network(small_batch(), joint=True)
    assert all(torch.equal(value, before[name]) for name, value in network.named_buffers())


_REACHES = {
    "span": ["head.span_score", "fusion.mix", "mining.from_memory", "contrast.out", "objects.out", "activities.out"],
    "contrast": ["contrast.clip_side", "contrast.text_side", "video_encoder.project", "query_encoder.project"],
    "intra": ["contrast.clip_side", "contrast.text_side", "video_encoder.project", "query_encoder.project"],
    "objects": ["objects.objects.value", "objects.phrase_prototypes.value", "query_encoder.project"],
    "presence": ["head.presence", "fusion.mix", "video_encoder.project", "query_encoder.project"],
    "activities": ["activities.key", "activities.text_side", "video_encoder.project", "query_encoder.project"],
}


@pytest.mark.parametrize("regions", [0, 3])
@pytest.mark.parametrize("term", _REACHES)
def test_each_term_reaches_the_parameters_it_should(term: str, regions: int) -> None:
    network = small_network(regions=regions).train()
    batch = small_batch(regions=regions)
    weights = dict.fromkeys((field.name for field in fields(LossConfig)), 0.0)
    losses = objective(network, network(batch), batch, LossConfig(**{**weights, term: 1.0}))
    torch.testing.assert_close(losses.total.detach(), losses.terms[term])
    losses.total.backward()
    reached = {
        name for name, parameter in network.named_parameters() if parameter.grad is not None and parameter.grad.any()
    }
    for prefix in _REACHES[term]:
        assert any(name.startswith(prefix) for name in reached), prefix
    if term not in ("span", "presence"):
        assert not any(name.startswith(("head", "fusion")) for name in reached)
    if term == "objects":
        assert any(name.startswith("video_encoder.regions" if regions else "video_encoder.project") for name in reached)


@pytest.mark.parametrize("part", [*MODULES, "negatives", "offsets"])
def test_a_part_switched_off_is_not_there(part: str) -> None:
    off = NetworkConfig.switched_off([part])
    network, whole = small_network(**off), small_network()
    names = {name.partition(".")[0] for name in network.state_dict()}
    assert part not in names
    shared = {name: value for name, value in whole.state_dict().items() if name in network.state_dict()}
    assert shared.keys() == network.state_dict().keys()
    batch = small_batch()
    losses = objective(network.train(), network(batch), batch, LossConfig())
    assert part.removesuffix("s") not in {name.removesuffix("s") for name in losses.terms}
    if part == "offsets":
        assert network.head.offsets is None
    if part == "negatives":
        assert not {"phi", "dropped"} & losses.statistics.keys()
    losses.total.backward()


def test_all_modules_off_is_the_plain_network() -> None:
    network = small_network(**NetworkConfig.switched_off([*MODULES, "negatives"]))
    assert {name.partition(".")[0] for name in network.state_dict()} == {
        "video_encoder",
        "query_encoder",
        "look",
        "fusion",
        "head",
    }


@pytest.mark.parametrize("part", [name for name in MODULES if name != "mining"])
def test_a_fresh_module_leaves_the_prediction_as_it_is(part: str) -> None:
    torch.manual_seed(0)
    network = build_network(small_config()).eval()
    batch = small_batch()
    before = network(batch).head.spans
    setattr(network, part, None)
    torch.testing.assert_close(network(batch).head.spans, before)


def test_what_is_mined_is_for_the_head_alone() -> None:
    network, batch = small_network(), small_batch()
    with torch.no_grad():
        before = network(batch)
        network.mining.queue.normal_()  # type: ignore[union-attr]
        after = network(batch)
    assert not torch.allclose(after.meeting.fused, before.meeting.fused, atol=1e-3)
    assert before.meeting.own is not None
    assert after.meeting.own is not None
    torch.testing.assert_close(after.meeting.own.vectors, before.meeting.own.vectors)
    torch.testing.assert_close(after.meeting.phrases, before.meeting.phrases)


def test_the_state_of_memory_and_thresholds_is_in_the_checkpoint() -> None:
    network = small_network().train()
    batch = small_batch()
    for _ in range(3):
        objective(network, network(batch), batch, LossConfig())
    state = network.state_dict()
    assert int((state["mining.origins"] != -1).sum()) == 12
    assert int(state["negatives.threshold.seen"]) == 3
    other = build_network(network.config)
    other.load_state_dict(state)
    with torch.no_grad():
        torch.testing.assert_close(other.eval()(batch).head.spans, network.eval()(batch).head.spans)


def _finite_and_ordered(network: MKTN, clips: int, words: list[int], regions: int) -> None:
    batch = collate([small_item(clips, words, regions=regions)])
    with torch.no_grad():
        bounds, scores = decode(network(batch, joint=True).head, 3)
    assert bounds.isfinite().all()
    assert scores.isfinite().all()
    assert (bounds[..., 0] < bounds[..., 1]).all()
    assert (bounds >= 0).all()
    assert (bounds <= clips).all()


@pytest.mark.parametrize("regions", [0, 3])
@pytest.mark.parametrize(("clips", "words"), [(1, [1]), (1, [3, 1]), (2000, [1, 5])])
def test_extreme_sizes_give_finite_ordered_spans(clips: int, words: list[int], regions: int) -> None:
    network = small_network(regions=regions)
    _finite_and_ordered(network, clips, words, regions)
    batch = collate([small_item(clips, words, regions=regions)])
    losses = objective(network.train(), network(batch), batch, LossConfig())
    losses.total.backward()
    assert losses.total.isfinite()
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    optimizer.step()
    _finite_and_ordered(network.eval(), clips, words, regions)


def test_word_for_word_duplicates_leave_the_denominators() -> None:
    """Sentences in which videos differ, most of them said of several videos: phi finds those, and few others."""
    dropout = {"dropout": 0.05, "input_dropout": 0.0, "word_input_dropout": 0.05, "word_dropout": 0.0}
    off = NetworkConfig.switched_off(["mining", "objects", "activities"])
    network = small_network(regions=0, word_dim=12, **off, **dropout)  # type: ignore[arg-type]
    optimizer = torch.optim.AdamW(network.train().parameters(), lr=5e-3)
    random = np.random.default_rng(0)
    says = [random.normal(size=(4, 12)).astype(np.float32) for _ in range(60)]
    shows = random.normal(size=(60, 6)).astype(np.float32)
    drop: dict[bool, list[torch.Tensor]] = {True: [], False: []}
    for step in range(240):
        drawn = random.integers(0, 60, 32)
        items = [small_item(3, [1], regions=0, seed=step * 32 + i) for i in range(32)]
        items = [
            replace(item, words=[says[j]], features=replace(item.features, clips=0.3 * item.features.clips + shows[j]))
            for item, j in zip(items, drawn, strict=True)
        ]
        batch = collate(items)
        output = network(batch)
        optimizer.zero_grad()
        false = network.false_negatives(output, batch)
        module_terms(network, output, batch, LossConfig(), false)["contrast"].backward()
        optimizer.step()
        if step >= 225:
            found = network.false_negatives(output, batch).pairs
            same = torch.from_numpy(drawn[:, None] == drawn[None])
            drop[True].append(found[same & ~torch.eye(32, dtype=torch.bool)])
            drop[False].append(found[~same])
    assert torch.cat(drop[True]).float().mean() >= 0.8
    assert torch.cat(drop[False]).float().mean() <= 0.1
