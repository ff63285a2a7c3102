"""The plan of the example corpus: which shapes do what, when and where, and in which videos. Nothing is drawn here.

Random numbers are pure Python and times are whole frames, so that a plan depends on the seed, the world and the number
of videos only.
"""

from __future__ import annotations

import functools
import itertools
import math
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Combination = tuple[str, str, str]  # colour, shape, activity

FPS = Fraction(25, 2)  # 0.08 s per frame: every frame time is exact with three decimals
SPLITS = ("train", "val", "test", "unseen")
WORLDS = ("easy", "hard")
COLOURS = {
    "red": (225, 40, 40),
    "green": (40, 185, 60),
    "blue": (45, 85, 240),
    "yellow": (245, 220, 40),
    "purple": (175, 50, 205),
    "white": (245, 245, 245),
}
SHAPES = ("circle", "square", "triangle", "star")
EASY = ("moves left", "moves right", "moves up", "moves down", "grows", "blinks")
ACTIVITIES = {"easy": EASY, "hard": (*EASY, "shrinks", "spins", "shakes")}
DIRECTIONS = {"moves left": (-1, 0), "moves right": (1, 0), "moves up": (0, -1), "moves down": (0, 1)}
SUBJECTS = ("the {c} {s}", "the {c} {s}", "a {c} {s}", "the {s} that is {c}", "the {s} in {c}")
PHRASES = {
    "moves left": ("moves left", "is moving left", "slides left", "goes to the left"),
    "moves right": ("moves right", "is moving right", "slides right", "goes to the right"),
    "moves up": ("moves up", "is moving up", "slides up", "goes upwards"),
    "moves down": ("moves down", "is moving down", "slides down", "goes downwards"),
    "grows": ("grows", "is growing", "gets bigger", "becomes larger"),
    "blinks": ("blinks", "is blinking", "flashes on and off"),
    "shrinks": ("shrinks", "is shrinking", "gets smaller", "becomes smaller"),
    "spins": ("spins", "is spinning", "rotates", "turns around"),
    "shakes": ("shakes", "is shaking", "trembles"),
}
GROWN, SHRUNK, SHAKE = 1.8, 0.5, 0.3  # size at the end of growing and shrinking; shaking width in radii
HIDDEN, BLINK = 3, 7  # a blink hides an object for 3 of 7 frames (about 2 Hz, unlike any usual sampling rate)
EDGE, GAP = 6, 13  # frames of rest at both ends of a video, and between two moments of an object
SHORTEST, LONGEST = 32, 100  # length of a moment in frames: 2.56 s to 8 s
HELD_OUT = 0.15  # share of the (colour, shape, activity) combinations that are not in train and val
UNSEEN_SHARE = 0.3  # share of the sentences of a test video with such a combination


@dataclass(frozen=True)
class Sprite:
    """An object: its appearance, and its radius and first position as fractions of the frame's width."""

    colour: str
    shape: str
    radius: float
    x: float
    y: float


@dataclass(frozen=True)
class Moment:
    """An activity of object number `sprite`, in the frames from `first` up to, but not including, `end`."""

    sprite: int
    activity: str
    first: int
    end: int
    distance: float
    query: str


@dataclass(frozen=True)
class VideoPlan:
    """All that happens in a video; moments are in order of time."""

    index: int
    split: str
    world: str
    seed: int
    frames: int
    sprites: tuple[Sprite, ...]
    moments: tuple[Moment, ...]

    @property
    def name(self) -> str:
        """Path of the video below the data folder."""
        return f"videos/{self.index:04d}.mp4"

    def combination(self, moment: Moment) -> Combination:
        """Return colour, shape and activity of a moment."""
        sprite = self.sprites[moment.sprite]
        return sprite.colour, sprite.shape, moment.activity


def combinations(world: str) -> list[Combination]:
    """Return all combinations of colour, shape and activity that are visible (a spinning circle is not)."""
    everything = ((c, s, a) for c in COLOURS for s in SHAPES for a in ACTIVITIES[world])
    return [combo for combo in everything if combo[1:] != ("circle", "spins")]


@functools.cache
def held_out(world: str, seed: int) -> frozenset[Combination]:
    """Return the combinations of the unseen sentences, spread evenly over colours, shapes, activities and pairs."""
    rng = random.Random(f"held out/{world}/{seed}")
    rest = combinations(world)
    rng.shuffle(rest)

    def parts(combo: Combination) -> list[tuple[str, ...]]:
        colour, shape, activity = combo
        return [(colour, activity), (shape, activity), (colour, shape), (colour,), (shape,), (activity,)]

    size = Counter(part for combo in rest for part in parts(combo))
    taken: Counter[tuple[str, ...]] = Counter()
    chosen: set[Combination] = set()
    for _ in range(round(HELD_OUT * len(rest))):
        best = min(rest, key=lambda combo: sum((taken[part] / size[part]) ** 2 for part in parts(combo)))
        rest.remove(best)
        chosen.add(best)
        taken.update(parts(best))
    return frozenset(chosen)


def trace(sprite: Sprite, moments: Iterable[Moment], frames: int) -> Array:
    """Return the state of an object in every frame (frames, 5): x, y, scale, angle, visible (1 or 0)."""
    state = np.tile(np.array([sprite.x, sprite.y, 1.0, 0.0, 1.0]), (frames, 1))
    for moment in moments:
        here = slice(moment.first, moment.end)
        step = np.arange(1, moment.end - moment.first + 1, dtype=np.float64)
        if moment.activity in DIRECTIONS:
            dx, dy = DIRECTIONS[moment.activity]
            way = np.outer(step / (len(step) + 1), (dx, dy)) * moment.distance
            state[here, :2] += way
            state[moment.end :, :2] += np.array((dx, dy)) * moment.distance
        elif moment.activity == "grows":
            state[here, 2] += (GROWN - 1) * step / len(step)
        elif moment.activity == "shrinks":
            state[here, 2] += (SHRUNK - 1) * step / len(step)
        elif moment.activity == "blinks":
            state[here, 4] = (step - 1) % BLINK >= HIDDEN
        elif moment.activity == "spins":
            turns = max(1, round(len(step) / float(FPS) / 1.5))
            state[here, 3] = 2 * math.pi * turns * step / (len(step) + 1)
        else:
            state[here, 0] += SHAKE * sprite.radius * np.cos(2 * math.pi * (step - 1) / 5)
    return state


def traces(plan: VideoPlan) -> list[Array]:
    """Return the states of all objects of a video; see `trace`."""
    every = enumerate(plan.sprites)
    return [trace(sprite, (m for m in plan.moments if m.sprite == i), plan.frames) for i, sprite in every]


def _looks(rng: random.Random, world: str, count: int) -> list[tuple[str, str]]:
    """Draw colours and shapes: in the easy world all colours differ, in the hard one colours or shapes are shared."""
    if world == "easy":
        return [(colour, rng.choice(SHAPES)) for colour in rng.sample(list(COLOURS), count)]
    group = count if count == 2 else rng.randint(2, min(3, count))
    if rng.random() < 0.7:
        colour = rng.choice(list(COLOURS))
        looks = [(colour, shape) for shape in rng.sample(SHAPES, group)]
    else:
        shape = rng.choice(SHAPES)
        looks = [(colour, shape) for colour in rng.sample(list(COLOURS), group)]
    near = [(c, s) for c in COLOURS for s in SHAPES if any((c == d) != (s == t) for d, t in looks)]
    free = [look for look in near if look not in looks]
    return looks + rng.sample(free, count - group)


def _cells(
    rng: random.Random, world: str, split: str, looks: list[tuple[str, str]], frames: int, held: frozenset[Combination]
) -> list[tuple[int, str]] | None:
    """Draw who does what: a few activities shared among the objects. None if the draw does not fit."""
    most = min(4, int(frames / FPS / 6.5))
    total = rng.randint(4, min(8, most * len(looks)))
    kinds = min(4, -(-total // len(looks)) + rng.randint(0, 1))
    activities = rng.sample(ACTIVITIES[world], kinds)
    grid = [(i, a) for i, (_, s) in enumerate(looks) for a in activities if (s, a) != ("circle", "spins")]
    rng.shuffle(grid)
    hidden = [(i, a) for i, a in grid if (*looks[i], a) in held]
    known = [cell for cell in grid if cell not in hidden]
    unseen = int(UNSEEN_SHARE * total + rng.random()) if split == "test" else 0
    if len(hidden) < unseen or len(known) < total - unseen:
        return None
    cells = hidden[:unseen] + known[: total - unseen]
    busy = Counter(i for i, _ in cells)
    return cells if len(busy) == len(looks) and max(busy.values()) <= most else None


def _times(rng: random.Random, activities: list[str], frames: int) -> list[tuple[str, int, int]] | None:
    """Draw the moments of an object in random order, spread evenly over the video. None if they do not fit."""
    order = rng.sample(activities, len(activities))
    lengths = [rng.randint(SHORTEST, LONGEST) for _ in order]
    for i, activity in enumerate(order):
        if activity == "blinks":  # begins and ends hidden
            lengths[i] = max(38, (lengths[i] - HIDDEN) // BLINK * BLINK + HIDDEN)
    slack = frames - 2 * EDGE - GAP * (len(order) - 1) - sum(lengths)
    if slack < 0:
        return None
    cuts = sorted(rng.randint(0, slack) for _ in order)
    firsts = [EDGE + cut + GAP * i + sum(lengths[:i]) for i, cut in enumerate(cuts)]
    return [(a, first, first + length) for a, first, length in zip(order, firsts, lengths, strict=True)]


def _place(
    rng: random.Random, look: tuple[str, str], moments: list[Moment], frames: int, others: list[Array]
) -> tuple[Sprite, list[Moment], Array] | None:
    """Draw distances and a first position that keep an object in the frame and apart from the others, if any do."""
    for _ in range(40):
        sprite = Sprite(*look, radius=round(rng.uniform(0.08, 0.105), 4), x=0.0, y=0.0)
        moved = [
            replace(m, distance=round(rng.uniform(0.22, 0.42), 4)) if m.activity in DIRECTIONS else m for m in moments
        ]
        state = trace(sprite, moved, frames)
        reach = sprite.radius * state[:, 2] + 0.01
        low, high = (reach[:, None] - state[:, :2]).max(0), (1 - reach[:, None] - state[:, :2]).min(0)
        if (low > high).any():
            continue
        x, y = (round(rng.uniform(float(a), float(b)), 4) for a, b in zip(low, high, strict=True))
        full = np.column_stack((state[:, :2] + (x, y), reach))
        if all((np.hypot(*(full - other).T[:2]) > full[:, 2] + other[:, 2]).all() for other in others):
            return replace(sprite, x=x, y=y), moved, full
    return None


def _attempt(rng: random.Random, index: int, split: str, world: str, seed: int, frames: int) -> VideoPlan | None:
    looks = _looks(rng, world, rng.choice((2, 3, 3, 3, 4, 4)))
    cells = _cells(rng, world, split, looks, frames, held_out(world, seed))
    if cells is None:
        return None
    moments: list[Moment] = []
    for i, (colour, shape) in enumerate(looks):
        times = _times(rng, [a for j, a in cells if j == i], frames)
        if times is None:
            return None
        for activity, first, end in times:
            subject, phrase = SUBJECTS[0], activity
            if world == "hard":
                subject, phrase = rng.choice(SUBJECTS), rng.choice(PHRASES[activity])
            query = f"{subject.format(c=colour, s=shape)} {phrase}"
            moments.append(Moment(i, activity, first, end, 0.0, query))
    for a, b in itertools.combinations(moments, 2):  # two objects never do the same at the same time
        if a.activity == b.activity and a.first < b.end and b.first < a.end:
            return None
    for _ in range(8):
        sprites: list[Sprite] = []
        placed: list[Moment] = []
        states: list[Array] = []
        for i, look in enumerate(looks):
            drawn = _place(rng, look, [m for m in moments if m.sprite == i], frames, states)
            if drawn is None:
                break
            sprites.append(drawn[0])
            placed.extend(drawn[1])
            states.append(drawn[2])
        else:
            placed.sort(key=lambda m: (m.first, m.end, m.sprite))
            return VideoPlan(index, split, world, seed, frames, tuple(sprites), tuple(placed))
    return None


def plan_video(index: int, split: str, world: str, seed: int) -> VideoPlan:
    """Plan a video; the same arguments give the same plan."""
    rng = random.Random(f"video/{world}/{seed}/{index}")
    frames = rng.randint(math.ceil(20 * FPS), math.floor(60 * FPS))
    while True:
        plan = _attempt(rng, index, split, world, seed, frames)
        if plan is not None:
            return plan


def plan_corpus(videos: int = 300, seed: int = 0, world: str = "easy") -> list[VideoPlan]:
    """Plan all videos: 80 % for training, 7 % for validation, the rest for testing."""
    if videos < 1:
        raise ValueError(f"the number of videos must be at least 1, not {videos}")
    if world not in WORLDS:
        raise ValueError(f"the world must be one of {', '.join(WORLDS)}, not {world!r}")
    val = max(1, round(0.07 * videos)) if videos > 2 else 0
    train = max(1, min(round(0.8 * videos), videos - val - 1))
    splits = ["train"] * train + ["val"] * val + ["test"] * (videos - train - val)
    random.Random(f"splits/{world}/{seed}").shuffle(splits)
    return [plan_video(index, split, world, seed) for index, split in enumerate(splits)]


def rows(plans: Iterable[VideoPlan]) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of each split.

    Sentences of test videos are in `test` if their combination is in `train`, otherwise in `unseen`. In a tiny corpus a
    combination can be in `val` only; test sentences with it are left out.
    """
    plans = list(plans)
    seen = {s: {p.combination(m) for p in plans if p.split == s for m in p.moments} for s in ("train", "val")}
    table: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    for plan in plans:
        for number, moment in enumerate(plan.moments):
            split, combo = plan.split, plan.combination(moment)
            if split == "test" and combo not in seen["train"]:
                if combo in seen["val"]:
                    continue
                split = "unseen"
            start, end, duration = (round(float(n / FPS), 3) for n in (moment.first, moment.end, plan.frames))
            row = {"id": f"{plan.index:04d}-{number}", "video": plan.name, "query": moment.query}
            table[split].append({**row, "start": start, "end": end, "duration": duration})
    return table
