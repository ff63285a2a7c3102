"""Tests of the example corpus: its plan (no rendering), its files and its pixels."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

import corpus_plan
import make_corpus as corpus

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "make_corpus.py"
WORLDS = ("easy", "hard")
FPS = 12.5


@pytest.fixture(scope="module", params=WORLDS)
def plans(request: pytest.FixtureRequest) -> list[Any]:
    made: list[Any] = corpus_plan.plan_corpus(300, 0, request.param)
    return made


def decode(path: Path) -> tuple[list[float], np.ndarray[Any, Any]]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [float(f.time or 0) for f in frames], np.stack([f.to_ndarray(format="rgb24") for f in frames])


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("world", WORLDS)
def test_plan_depends_on_seed_only(world: str) -> None:
    first = corpus_plan.plan_corpus(30, 7, world)
    assert first == corpus_plan.plan_corpus(30, 7, world)
    assert first != corpus_plan.plan_corpus(30, 8, world)
    assert corpus_plan.rows(first) == corpus_plan.rows(corpus_plan.plan_corpus(30, 7, world))


def test_plan_is_the_same_in_another_process() -> None:
    code = "import json, corpus_plan as m; print(json.dumps(m.rows(m.plan_corpus(12, 3, 'hard'))))"
    command = [sys.executable, "-c", code]
    out = subprocess.run(command, cwd=SCRIPT.parent, capture_output=True, text=True, check=True).stdout
    assert json.loads(out) == corpus_plan.rows(corpus_plan.plan_corpus(12, 3, "hard"))


def test_splits_by_video(plans: list[Any]) -> None:
    table = corpus_plan.rows(plans)
    videos = {split: {row["video"] for row in lines} for split, lines in table.items()}
    assert not videos["train"] & (videos["val"] | videos["test"] | videos["unseen"])
    assert not videos["val"] & (videos["test"] | videos["unseen"])
    test = {plan.name for plan in plans if plan.split == "test"}
    assert videos["test"] | videos["unseen"] == test
    assert len(videos["train"]) == 240 and 15 <= len(videos["val"]) <= 30
    ids = [row["id"] for lines in table.values() for row in lines]
    assert len(ids) == len(set(ids)) == sum(len(plan.moments) for plan in plans)
    share = len(table["unseen"]) / (len(table["unseen"]) + len(table["test"]))
    assert 0.2 < share < 0.35


def test_unseen_combinations_are_kept_out(plans: list[Any]) -> None:
    held = corpus_plan.held_out(plans[0].world, 0)
    used = {
        split: {plan.combination(m) for plan in plans if plan.split == split for m in plan.moments}
        for split in ("train", "val", "test")
    }
    assert not held & (used["train"] | used["val"])
    assert held & used["test"]
    assert used["test"] - held <= used["train"]
    assert len(held) / len(corpus_plan.combinations(plans[0].world)) == pytest.approx(0.15, abs=0.01)
    unseen_ids = {row["id"] for row in corpus_plan.rows(plans)["unseen"]}
    for plan in plans:
        for number, moment in enumerate(plan.moments):
            assert (f"{plan.index:04d}-{number}" in unseen_ids) == (plan.combination(moment) in held)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("seed", range(5))
def test_held_out_is_balanced(world: str, seed: int) -> None:
    everything = set(corpus_plan.combinations(world))
    left = everything - corpus_plan.held_out(world, seed)
    for i, j in itertools.combinations(range(3), 2):
        assert {(c[i], c[j]) for c in left} == {(c[i], c[j]) for c in everything}
    for i in range(3):
        for value in {c[i] for c in everything}:
            total = sum(c[i] == value for c in everything)
            assert 0.05 < 1 - sum(c[i] == value for c in left) / total < 0.25


def test_one_true_moment(plans: list[Any]) -> None:
    sharing = []
    for plan in plans:
        assert 20 <= plan.frames / FPS <= 60 and 2 <= len(plan.sprites) <= 4 and 4 <= len(plan.moments) <= 8
        looks = [(sprite.colour, sprite.shape) for sprite in plan.sprites]
        assert len(set(looks)) == len(looks)
        if plan.world == "easy":
            assert len({colour for colour, _ in looks}) == len(looks)
        else:
            sharing.append(len({colour for colour, _ in looks}) < len(looks))
            assert sharing[-1] or len({shape for _, shape in looks}) < len(looks)
        names = [plan.combination(m) for m in plan.moments]
        assert len(set(names)) == len(names)
        assert {m.sprite for m in plan.moments} == set(range(len(plan.sprites)))
        for m in plan.moments:
            colour, shape, activity = plan.combination(m)
            words = m.query.split()
            assert colour in words and shape in words
            assert any(m.query.endswith(f" {phrase}") for phrase in corpus_plan.PHRASES[activity])
            assert plan.world == "hard" or m.query == f"the {colour} {shape} {activity}"
            assert 2.5 <= (m.end - m.first) / FPS <= 8 and m.first > 0 and m.end < plan.frames
        for a, b in itertools.combinations(plan.moments, 2):
            if a.sprite == b.sprite:
                assert b.first - a.end >= FPS
            elif a.activity == b.activity:
                assert b.first >= a.end
    assert not sharing or np.mean(sharing) > 0.5


def test_phrases_are_unambiguous() -> None:
    phrases = [phrase for options in corpus_plan.PHRASES.values() for phrase in options]
    assert len(set(phrases)) == len(phrases)
    assert set(corpus_plan.PHRASES) == set(corpus_plan.ACTIVITIES["hard"])


def test_bounds_distance_and_rest(plans: list[Any]) -> None:
    for plan in plans:
        states = corpus_plan.traces(plan)
        reach = [sprite.radius * state[:, 2] for sprite, state in zip(plan.sprites, states, strict=True)]
        for i, state in enumerate(states):
            assert (state[:, :2] >= reach[i][:, None]).all() and (state[:, :2] <= 1 - reach[i][:, None]).all()
            active = np.zeros(plan.frames, dtype=bool)
            for m in plan.moments:
                if m.sprite == i:
                    active[m.first : m.end] = True
                    assert (state[m.first] != state[m.first - 1]).any() and (state[m.end] != state[m.end - 1]).any()
                    shift = np.abs(state[m.end] - state[m.first - 1])
                    assert shift.max() == pytest.approx(m.distance)
                    if m.activity in corpus_plan.DIRECTIONS:
                        assert 0.2 <= m.distance <= 0.45
            changed = (state[1:] != state[:-1]).any(axis=1)
            assert not changed[~active[1:] & ~active[:-1]].any()
            assert (state[~active, 2:] == (1, 0, 1)).all()
        for i, j in itertools.combinations(range(len(states)), 2):
            apart = np.hypot(*(states[i] - states[j])[:, :2].T)
            assert (apart > reach[i] + reach[j]).all()


def test_a_constant_span_is_poor(plans: list[Any]) -> None:
    lines = [row for split in corpus_plan.rows(plans).values() for row in split]
    start, end, duration = (np.array([row[key] for row in lines]) for key in ("start", "end", "duration"))
    best = 0.0
    for unit in (duration, np.full_like(duration, 60.0)):
        for a, b in itertools.combinations(np.linspace(0, 1, 41), 2):
            both = np.minimum(end, b * unit) - np.maximum(start, a * unit)
            either = np.maximum(end, b * unit) - np.minimum(start, a * unit)
            best = max(best, float((both / either >= 0.5).mean()))
    assert best < 0.25


def test_both_words_are_needed(plans: list[Any]) -> None:
    shared = [
        (sum(n.activity == m.activity for n in p.moments) > 1, sum(n.sprite == m.sprite for n in p.moments) > 1)
        for p in plans
        for m in p.moments
    ]
    assert (np.mean(shared, axis=0) > 0.6).all()


@pytest.mark.parametrize("videos", [1, 2, 3, 5, 10])
def test_tiny_corpora(videos: int) -> None:
    plans = corpus_plan.plan_corpus(videos, 0, "hard")
    counts = [sum(p.split == split for p in plans) for split in ("train", "val", "test")]
    assert sum(counts) == videos and all(n > 0 for n in counts[: 1 if videos < 3 else 3])
    table = corpus_plan.rows(plans)
    assert list(table) == ["train", "val", "test", "unseen"]
    seen = {p.combination(m) for p in plans if p.split != "test" for m in p.moments}
    unseen = {row["id"] for row in table["unseen"]}
    for p in plans:
        for number, m in enumerate(p.moments):
            assert f"{p.index:04d}-{number}" not in unseen or p.combination(m) not in seen


def test_workers_do_not_matter(tmp_path: Path) -> None:
    steps: list[int] = []
    one = corpus.make_corpus(tmp_path / "one", videos=2, seed=5, world="hard", workers=1, progress=steps.append)
    two = corpus.make_corpus(tmp_path / "two", videos=2, seed=5, world="hard", workers=2)
    assert one == two and sum(steps) == 2
    names = sorted(str(path.relative_to(tmp_path / "one")) for path in (tmp_path / "one").rglob("*") if path.is_file())
    rows = ["test.jsonl", "train.jsonl", "unseen.jsonl", "val.jsonl"]
    assert names == ["mttsg.toml", *rows, "videos/0000.mp4", "videos/0001.mp4"]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    for split, lines in one.items():
        written = (tmp_path / "one" / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
        assert [json.loads(line) for line in written] == lines
        for row in lines:
            assert list(row) == ["id", "video", "query", "start", "end", "duration"]
            times, pixels = decode(tmp_path / "one" / row["video"])
            assert pixels.shape[1:] == (128, 128, 3)
            assert len(times) / FPS == pytest.approx(row["duration"])
            assert 0 < row["start"] < row["end"] < row["duration"]
            assert min(abs(t - row["start"]) for t in times) < 1e-3 and min(abs(t - row["end"]) for t in times) < 1e-3


@pytest.mark.parametrize("activity", corpus_plan.ACTIVITIES["hard"])
def test_pixels_show_the_activity(activity: str, tmp_path: Path) -> None:
    """The object changes as told in its moment, and rests just before and after it."""
    size, world = 144, "easy" if activity in corpus_plan.EASY else "hard"
    many = (corpus_plan.plan_video(index, "train", world, 1) for index in range(200))
    plan, moment = next(
        (p, m)
        for p in many
        for m in p.moments
        if m.activity == activity
        and p.frames < 450
        and sum(t.colour == p.sprites[m.sprite].colour for t in p.sprites) == 1
    )
    (tmp_path / "videos").mkdir()
    corpus.write_video(plan, str(tmp_path), size)
    _, pixels = decode(tmp_path / plan.name)
    assert len(pixels) == plan.frames
    colour = np.array(corpus_plan.COLOURS[plan.sprites[moment.sprite].colour])
    found = np.abs(pixels.astype(int) - colour).max(axis=3) < 70
    grid = np.arange(size) + 0.5
    area = found.sum(axis=(1, 2)).astype(float)
    x = (found * grid).sum(axis=(1, 2)) / np.maximum(area, 1)
    y = (found * grid[:, None]).sum(axis=(1, 2)) / np.maximum(area, 1)
    for part in (slice(moment.first - 5, moment.first), slice(moment.end, moment.end + 5)):
        assert np.ptp(x[part]) < 0.6 and np.ptp(y[part]) < 0.6 and np.ptp(area[part]) < 0.15 * area[part].mean()
    inside = slice(moment.first, moment.end)
    before, last = moment.first - 1, moment.end - 1
    shift = (x[moment.end] - x[before], y[moment.end] - y[before])
    direction = corpus_plan.DIRECTIONS.get(activity, (0, 0))
    assert shift == pytest.approx([d * moment.distance * size for d in direction], abs=1.2)
    if activity in corpus_plan.DIRECTIONS:
        way = (x if direction[0] else y)[inside] * sum(direction)
        assert (np.diff(way) > -0.5).all() and np.ptp(way) > 0.19 * size
    elif activity == "grows":
        assert 2.5 < area[last] / area[before] < 4 and area[moment.end] < 1.15 * area[before]
    elif activity == "shrinks":
        assert area[last] < 0.4 * area[before] and area[moment.end] > 0.85 * area[before]
    elif activity == "blinks":
        hidden = area[inside] < 0.1 * area[before]
        assert hidden[0] and hidden[-1] and 0.35 < hidden.mean() < 0.55
    elif activity == "shakes":
        assert np.ptp(x[inside]) > 3 and np.ptp(y[inside]) < 1.5
    else:  # spins
        still = found[before]
        assert max((frame ^ still).sum() for frame in found[inside]) > 0.2 * area[before]
        assert (found[moment.end] ^ still).sum() < 0.2 * area[before]


def test_the_world_is_noisy_only_when_hard() -> None:
    for world in WORLDS:
        plan = corpus_plan.plan_video(0, "train", world, 0)
        frames = list(itertools.islice(corpus.render(plan, 64), 5))
        assert all(frame.shape == (64, 64, 3) and frame.dtype == np.uint8 for frame in frames)
        assert (frames[0] == frames[1]).all() == (world == "easy")


def test_overwrite_replaces_old_files(tmp_path: Path) -> None:
    corpus.make_corpus(tmp_path, videos=2, workers=1, size=64)
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(FileExistsError):
        corpus.make_corpus(tmp_path, videos=1, workers=1, size=64)
    corpus.make_corpus(tmp_path, videos=1, workers=1, size=64, overwrite=True)
    assert [path.name for path in (tmp_path / "videos").iterdir()] == ["0000.mp4"]
    assert (tmp_path / "notes.txt").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--videos", "0"),
        ("--videos", "many"),
        ("--world", "strange"),
        ("--size", "65"),
        ("--workers", "0"),
        ("--seed", "-1"),
        ("--nonsense",),
    ],
)
def test_bad_usage_is_one_line(arguments: tuple[str, ...], tmp_path: Path) -> None:
    folder = tmp_path / "new"
    if not arguments:
        folder.mkdir()
        (folder / "notes.txt").write_text("mine", encoding="utf-8")
    done = run(str(folder), *arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("make_corpus: ") and done.stderr.count("\n") == 1
    assert folder.exists() == (not arguments)


def test_command(tmp_path: Path) -> None:
    done = run(str(tmp_path / "new"), "--videos", "1", "--workers", "1", "--size", "64")
    assert done.returncode == 0 and done.stdout == ""
    assert done.stderr.startswith("wrote ") and done.stderr.count("\n") == 1
    assert (tmp_path / "new" / "train.jsonl").stat().st_size > 0
