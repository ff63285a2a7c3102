"""Grounding without training, with an encoder of colours and their names: the right moment is known."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import av
import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mttsg_core import Grounder
from mttsg_core.encoders.base import Array, ClipFeatures, JointEncoder, Settings
from mttsg_core.features.extraction import ExtractionSettings, encode_video
from mttsg_core.features.store import VideoFeatures
from mttsg_core.inference.zero_shot import ZeroShotPredictor, propose_moments
from mttsg_core.moments import Moment, Timeline, span_iou
from mttsg_core.video.resize import FrameTransform
from tests.conftest import Mttsg
from tests.helpers.tiny_encoders import save_clip, save_siglip
from tests.helpers.video_files import require_encoder

COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 190, 40),
    "blue": (30, 50, 220),
    "yellow": (230, 220, 30),
    "purple": (170, 30, 200),
    "cyan": (30, 210, 220),
    "white": (240, 240, 240),
    "grey": (110, 110, 110),
    "black": (15, 15, 15),
}
NAMES = list(COLOURS)
RATE = 2.0  # clips per second
Span = tuple[float, float]


class ColourEncoder:
    """Encodes a clip by the similarity of its mean colour to each named colour, a sentence by the colours it names."""

    frame_transform: ClassVar[FrameTransform] = FrameTransform((16, 16))
    frames_per_clip: ClassVar[int] = 1
    clip_batch_size: ClassVar[int] = 32
    runs_in_workers: ClassVar[bool] = True
    settings: ClassVar[Settings] = {"encoder": "colours"}
    names: ClassVar[Sequence[str]] = NAMES  # of the colours that it can tell apart

    def encode(self, frames: npt.NDArray[np.uint8]) -> ClipFeatures:
        mean = frames.astype(np.float64).mean(axis=(1, 2, 3))  # (B, 3)
        distance = np.linalg.norm(mean[:, None] - np.array(list(COLOURS.values())), axis=-1)
        return ClipFeatures(np.exp(-((distance / 60) ** 2)).astype(np.float32))

    def embed_queries(self, queries: Sequence[str]) -> Array:
        named = [[name in re.findall(r"\w+", query) for name in NAMES] for query in queries]
        return np.array(named, dtype=np.float32)

    def spread(self) -> float:
        """Return the standard deviation of clip vectors over the colours, averaged over channels."""
        frames = np.array(list(COLOURS.values()), dtype=np.uint8)[:, None, None, None]
        return float(self.encode(frames).clips.std(axis=0).mean())


class CrowdedEncoder(ColourEncoder):
    """Resembles real encoders: all frames are in one narrow cone, all sentences in another, each a little different."""

    SHARE = 0.5

    def __init__(self) -> None:
        draw = np.random.default_rng(0)
        self.turn = draw.normal(size=(len(NAMES), 32))
        self.frame, self.text = 3 * draw.normal(size=(2, 32))

    def encode(self, frames: npt.NDArray[np.uint8]) -> ClipFeatures:
        return ClipFeatures((self.SHARE * super().encode(frames).clips @ self.turn + self.frame).astype(np.float32))

    def embed_queries(self, queries: Sequence[str]) -> Array:
        own = np.array([np.random.default_rng(list(query.encode())).normal(size=32) for query in queries])
        return (self.SHARE * (super().embed_queries(queries) @ self.turn + own) + self.text).astype(np.float32)


class MeanColourEncoder(ColourEncoder):
    """Encodes a clip by its mean colour, with grey at zero, so that colours may be similar or opposite."""

    names = NAMES[:6]

    def encode(self, frames: npt.NDArray[np.uint8]) -> ClipFeatures:
        return ClipFeatures((frames.astype(np.float32).mean(axis=(1, 2, 3)) - 127.5) / 127.5)

    def embed_queries(self, queries: Sequence[str]) -> Array:
        values = (np.array(list(COLOURS.values()), dtype=np.float32) - 127.5) / 127.5
        return super().embed_queries(queries) @ values


ENCODERS = {"plain": ColourEncoder(), "crowded": CrowdedEncoder(), "mean colour": MeanColourEncoder()}
FINGERPRINT: Settings = ExtractionSettings("colours", RATE).fingerprint(ColourEncoder())


def grounder(encoder: JointEncoder) -> Grounder:
    return Grounder(ZeroShotPredictor(encoder.embed_queries, FINGERPRINT))


@dataclass(frozen=True)
class Video:
    """A video of single-coloured scenes: scene i lasts from `cuts[i]` to `cuts[i + 1]` seconds."""

    cuts: tuple[float, ...]
    colours: tuple[str, ...]

    @property
    def duration(self) -> float:
        return self.cuts[-1]

    def true_spans(self, colour: str) -> list[Span]:
        scenes = zip(self.cuts, self.cuts[1:], self.colours, strict=False)
        return [(start, end) for start, end, name in scenes if name == colour]

    def colour_at(self, seconds: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
        """(N,) to (N, 3)."""
        scene = np.searchsorted(self.cuts[1:-1], seconds, side="right")
        return np.array([COLOURS[self.colours[i]] for i in scene], dtype=np.uint8)

    def features(self, encoder: ColourEncoder, noise: float = 0.0, seed: int = 0) -> VideoFeatures:
        """Return the features of the file, with noise on the clip vectors as a fraction of their `spread`."""
        timeline = Timeline.at_rate(self.duration, RATE)
        frames = np.tile(self.colour_at(timeline.sample_times())[:, None, None, None], (1, 1, 2, 2, 1))
        clips = encoder.encode(frames).clips
        noisy = clips + np.random.default_rng(seed).normal(size=clips.shape) * noise * encoder.spread()
        return VideoFeatures(noisy.astype(np.float16), None, self.duration, FINGERPRINT)

    def write(self, path: Path, rate: int = 10) -> Path:
        """Write a video file with grain and a horizontal gradient."""
        require_encoder("libx264")
        draw = np.random.default_rng(len(self.colours))
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=rate)
            stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
            stream.options = {"preset": "ultrafast"}
            stream.codec_context.time_base = Fraction(1, rate)
            for number, colour in enumerate(self.colour_at(np.arange(round(self.duration * rate)) / rate)):
                picture = colour + draw.normal(scale=6, size=(32, 48, 3)) + np.linspace(-12, 12, 48)[:, None]
                frame = av.VideoFrame.from_ndarray(picture.clip(0, 255).astype(np.uint8), format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, rate)
                container.mux(stream.encode(frame.reformat(format="yuv420p")))
            container.mux(stream.encode(None))
        return path


def draw_video(
    draw: np.random.Generator,
    names: Sequence[str] = NAMES,
    scenes: tuple[int, int] = (3, 8),
    seconds: Span = (2, 60),
    *,
    repeats: bool = False,
) -> Video:
    """Return scenes of at least 0.6 s, each of another colour; with `repeats`, only neighbours are sure to differ."""
    duration = round(float(draw.uniform(*seconds)), 1)
    least, most = scenes
    count = int(draw.integers(least, min(most, int(duration / 0.6), len(names)) + 1))
    colours = [str(name) for name in draw.permutation(names)[:count]]
    for scene in range(2, count if repeats else 0):
        if draw.random() < 0.5:
            colours[scene] = next(name for name in colours if name != colours[scene - 1])
    lengths = 0.6 + (duration - 0.6 * count) * draw.dirichlet(np.ones(count))
    return Video((0.0, *np.cumsum(lengths)[:-1].tolist(), duration), tuple(colours))


def is_hit(moments: Sequence[Moment], spans: Sequence[Span], iou: float = 0.5) -> bool:
    """Return whether the first moment is right."""
    return bool(moments) and bool(span_iou(moments[0][:2], spans).max() >= iou)


KINDS: dict[str, dict[str, Any]] = {
    "different scenes": {},
    "repeated scenes": {"repeats": True},
    "short moments": {"scenes": (6, 8), "seconds": (15, 60)},
    "one scene": {"scenes": (1, 1)},
    "two scenes": {"scenes": (2, 2)},
}


def recall(encoder: ColourEncoder, kind: str, noise: float, videos: int, seed: int = 7) -> float:
    """Return R@1,IoU=0.5 in 0..1 for one colour of each video, that of its shortest scene for short moments."""
    draw = np.random.default_rng(seed)
    drawn = [draw_video(draw, encoder.names, **KINDS[kind]) for _ in range(videos)]
    colours = [
        video.colours[int(np.argmin(np.diff(video.cuts)))]
        if kind == "short moments"
        else str(draw.choice(video.colours))
        for video in drawn
    ]
    inputs = (
        (video.features(encoder, noise, number), [f"something {colour} is there"])
        for number, (video, colour) in enumerate(zip(drawn, colours, strict=True))
    )
    results = grounder(encoder).ground_many(inputs, top=1)
    return float(
        np.mean(
            [
                is_hit(moments, video.true_spans(colour))
                for video, colour, [moments] in zip(drawn, colours, results, strict=True)
            ]
        )
    )


# Real curves are noisy, so noise is smoothed over several clips, and blurs scenes of one or two; scenes of a similar
# colour have relevant clips as well.
HARD = {
    ("plain", 0.3, "short moments"): 0.35,
    ("crowded", 0.3, "short moments"): 0.6,
    ("mean colour", 0.0, "different scenes"): 0.65,
    ("mean colour", 0.0, "short moments"): 0.3,
}


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize(
    ("encoder", "noise"), [("plain", 0.0), ("plain", 0.3), ("crowded", 0.0), ("crowded", 0.3), ("mean colour", 0.0)]
)
def test_the_right_moment_comes_first(encoder: str, noise: float, kind: str) -> None:
    assert recall(ENCODERS[encoder], kind, noise, videos=60) >= HARD.get((encoder, noise, kind), 0.9)


def test_the_right_moment_comes_first_in_video_files(tmp_path: Path) -> None:
    draw = np.random.default_rng(5)
    videos = [draw_video(draw, seconds=(2, 12)) for _ in range(5)] + [draw_video(draw, scenes=(1, 1), seconds=(3, 6))]
    extraction = ExtractionSettings("colours", RATE)
    hits = []
    for number, video in enumerate(videos):
        features = encode_video(video.write(tmp_path / f"{number}.mp4"), ColourEncoder(), extraction)
        results = grounder(ColourEncoder()).ground_features(features, [f"a {name} wall" for name in video.colours])
        hits += [is_hit(moments, video.true_spans(name)) for name, moments in zip(video.colours, results, strict=True)]
    assert len(hits) > 15
    assert np.mean(hits) >= 0.9


def test_a_colour_in_the_video_scores_higher_than_one_that_is_not() -> None:
    draw = np.random.default_rng(3)
    encoder = CrowdedEncoder()
    matching, mismatched = [], []
    for seed in range(30):
        video = draw_video(draw, scenes=(3, 5), seconds=(10, 40))
        other = next(name for name in NAMES if name not in video.colours)
        features = video.features(encoder, 0.2, seed)
        [positive], [negative] = grounder(encoder).ground_features(features, [video.colours[1], other], top=1)
        matching.append(positive.score)
        mismatched.append(negative.score)
    assert np.mean(matching) > np.mean(mismatched) + 0.2
    above = np.greater.outer(matching, mismatched)
    assert above.mean() > 0.75  # also across videos


def test_moments_do_not_depend_on_the_other_sentences() -> None:
    encoder = CrowdedEncoder()
    features = draw_video(np.random.default_rng(1)).features(encoder, 0.3)
    queries = [f"a {name} thing" for name in NAMES]
    together = grounder(encoder).ground_features(features, queries)
    assert together == [grounder(encoder).ground_features(features, query) for query in queries]
    assert together == grounder(encoder).ground_features(features, queries, mode="joint")
    assert grounder(encoder).ground_features(features, []) == []


def test_unreadable_clips_do_not_make_a_scene() -> None:
    video = Video((0.0, 10.0, 20.0, 30.0), ("red", "blue", "green"))
    features = video.features(ColourEncoder())
    clips = features.clips.copy()
    clips[[0, 25, 26, 30]] = 0
    results = grounder(ColourEncoder()).ground_features(replace(features, clips=clips, lost_clips=4), ["red", "blue"])
    assert [moments[0][:2] for moments in results] == [(0, 10), (10, 20)]
    unreadable = replace(features, clips=np.zeros_like(clips))
    [moment] = grounder(ColourEncoder()).ground_features(unreadable, "red")
    assert moment[:2] == (0, 30)


def test_distant_scenes_are_two_moments() -> None:
    apart = Video((0.0, 5.0, 15.0, 30.0, 38.0, 50.0), ("blue", "red", "green", "red", "blue"))
    first, second, *_ = grounder(ColourEncoder()).ground_features(apart.features(ColourEncoder()), "red")
    assert {first[:2], second[:2]} == {(5, 15), (30, 38)}


def test_saliency_is_high_inside_the_moment() -> None:
    video = Video((0.0, 10.0, 20.0, 30.0), ("red", "blue", "green"))
    features = video.features(CrowdedEncoder(), 0.1)
    red, blue = grounder(CrowdedEncoder()).saliency(features, ["red", "blue"])
    assert red.shape == blue.shape == (60,)
    assert red[:20].min() > red[20:].max()
    assert blue[20:40].min() > max(blue[:20].max(), blue[40:].max())
    assert min(red.min(), blue.min()) >= 0 and max(red.max(), blue.max()) <= 1


@settings(max_examples=60)
@given(data=st.data(), clips=st.integers(1, 120), top=st.integers(1, 6))
def test_moments_are_inside_the_video_ranked_and_distinct(data: st.DataObject, clips: int, top: int) -> None:
    values = st.floats(-1e4, 1e4) | st.sampled_from([0.0, 1.0])
    similarity = np.array([data.draw(st.lists(values, min_size=clips, max_size=clips)) for _ in range(2)])
    for curve in similarity:
        moments = propose_moments(torch.from_numpy(curve), top)
        assert 1 <= len(moments) <= top
        spans = np.array([moment[:2] for moment in moments])
        assert (spans[:, 0] >= 0).all() and (spans[:, 1] <= clips).all()
        assert (spans[:, 0] < spans[:, 1]).all()
        assert not np.triu(span_iou(spans[:, None], spans[None]), 1).any()
        assert all(0 < moment.agreement <= 1 for moment in moments)


def test_scaling_or_shifting_the_similarity_does_not_move_the_best_moment() -> None:
    draw = np.random.default_rng(2)
    curve = np.repeat([0.0, 3.0, 1.0, 0.0, 2.0, 0.0], [12, 8, 10, 20, 6, 9]) + draw.normal(scale=0.3, size=65)
    for other in (curve, curve * 40, curve + 5, curve - 5):
        [moment] = propose_moments(torch.from_numpy(other), 1)
        assert moment[:2] == (12, 22), "the last level of 1 is reached by noise"


def test_a_short_scene_is_found_among_hours_of_others() -> None:
    draw = np.random.default_rng(0)
    scenes = draw.normal(size=1200)
    scenes[700] = 9.0
    curve = np.repeat(scenes, 6) + draw.normal(scale=0.2, size=7200)
    [moment] = propose_moments(torch.from_numpy(curve), 1)
    assert moment[:2] == (4200, 4206)


@pytest.fixture
def colours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Make every pretrained encoder the one of colours, with no trained model on this computer."""
    monkeypatch.setattr("mttsg_core.encoders._build_pretrained", lambda *_: ColourEncoder())
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "nobody"))


@pytest.mark.usefixtures("colours")
def test_a_video_file_is_grounded_without_a_model(mttsg: Mttsg, tmp_path: Path) -> None:
    video = Video((0.0, 3.0, 6.0, 9.0), ("red", "blue", "green")).write(tmp_path / "a.mp4")
    arguments = ["ground", video, "a blue wall", "something green", "--workers", "1", "--cache", tmp_path / "cache"]
    ran = mttsg(*arguments)
    assert (ran.code, ran.errors) == (0, [])
    assert re.fullmatch(
        r"No model of your own yet: using \S+ without training; to train one: mttsg train DATA", ran.err.splitlines()[0]
    )
    rows = [line.split("\t") for line in ran.out.splitlines()[1:]]
    assert [(row[1], float(row[3]), float(row[4])) for row in rows] == [
        ("a blue wall", 3.0, 6.0),
        ("something green", 6.0, 9.0),
    ]
    named = mttsg(*arguments, "--encoder", "some/encoder")
    assert (named.out, named.err.splitlines()[0]) == (ran.out, "model: some/encoder, without training")
    assert mttsg(*arguments, "--quiet").err == ""
    page = tmp_path / "page.html"
    assert mttsg(*arguments, "--html", page, "--top", "2").code == 0
    assert "a blue wall" in page.read_text()
    assert ", without training</bdi>." in page.read_text()


@pytest.mark.usefixtures("colours")
def test_the_library_grounds_without_a_model(tmp_path: Path) -> None:
    video = Video((0.0, 3.0, 6.0), ("red", "blue")).write(tmp_path / "a.mp4")
    for loaded in (
        Grounder.load(device="cpu", cache=tmp_path / "cache"),
        Grounder.load(encoder="some/encoder", device="cpu", cache=tmp_path / "cache"),
        Grounder.zero_shot("some/encoder", fps=4, device="cpu", cache=tmp_path / "cache"),
    ):
        [[red], [blue]] = loaded.ground(video, ["red", "blue"], top=1)
        assert (red[:2], blue[:2]) == ((0, 3), (3, 6))
        assert loaded.ground(video, "blue", top=1) == [blue]


@pytest.mark.usefixtures("colours")
def test_external_features_need_a_model(mttsg: Mttsg, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((4, 3), dtype=np.float32))
    ran = mttsg("ground", "a.mp4", "red", "--features", tmp_path)
    assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)
    assert "no model yet" in ran.errors[0]


@pytest.mark.usefixtures("colours")
def test_an_encoder_without_a_text_tower_is_refused(mttsg: Mttsg, clip: Path) -> None:
    ran = mttsg("ground", clip, "red", "--encoder", "classic")
    assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)
    assert "'classic' has no text tower" in ran.errors[0]


@pytest.mark.parametrize("save", [save_clip, save_siglip])
def test_pretrained_models_ground_without_training(
    mttsg: Mttsg, clip: Path, tmp_path: Path, save: Callable[[Path], Path]
) -> None:
    """Their weights are random here, so that only the form of the output can be checked."""
    folder = save(tmp_path / "encoder")
    arguments = ["ground", clip, "the red circle", "the blue square", "--cache", tmp_path / "cache", "--top", "2"]
    ran = mttsg(*arguments, "--encoder", folder)
    assert (ran.code, ran.errors) == (0, [])
    rows = [line.split("\t") for line in ran.out.splitlines()[1:]]
    assert {row[1] for row in rows} == {"the red circle", "the blue square"}
    assert all(0 <= float(row[3]) < float(row[4]) and 0 <= float(row[5]) <= 1 for row in rows)
    assert mttsg(*arguments, "--encoder", folder).out == ran.out
