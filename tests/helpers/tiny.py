"""Small features, networks, data sets and model folders, for tests that need no video."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mttsg_core.checkpoints.checkpoint import Model, save_description, save_weights
from mttsg_core.config import NetworkConfig
from mttsg_core.data.batch import Batch, Targets, VideoItem, collate, collate_targets
from mttsg_core.data.dataset import Dataset
from mttsg_core.data.pairs import Pair
from mttsg_core.encoders import build_text_encoder
from mttsg_core.encoders.base import Array, Settings
from mttsg_core.features.store import FeatureStore, VideoFeatures, write_features
from mttsg_core.modeling.mktn import MKTN, build_network

CLIP_DIM, WORD_DIM, REGIONS, REGION_DIM = 6, 5, 4, 3
FINGERPRINT: Settings = {"encoder": "tiny", "version": 1}
SIZES: dict[str, Any] = {
    "width": 16,
    "region_width": 8,
    "region_heads": 2,
    "local_layers": 1,
    "head_width": 8,
    "proposal_width": 8,
}
ONLY_THE_HEAD: dict[str, Any] = {name: False for name in NetworkConfig.SWITCHES if name not in ("presence", "offsets")}
NO_DROPOUT: dict[str, Any] = dict.fromkeys(("dropout", "input_dropout", "word_input_dropout", "word_dropout"), 0.0)
RAGGED = ((12, 2), (5, 3), (1, 1))
COLOURS, ACTIVITIES = ("red", "blue", "green"), ("moves", "grows")

# Start of a weight's name -> its start in a model folder of format 5; the first match counts.
FORMAT_5_NAMES = {
    "video_encoder.regions.appearance.": "video_encoder.regions.looks.",
    "video_encoder.regions.deviation.": "video_encoder.regions.deviates.",
    "video_encoder.regions.position": "video_encoder.regions.place",
    "video_encoder.regions.output.": "video_encoder.regions.rest.",
    "region_attention.value.": "look.seen.",
    "region_attention.logsumexp.": "look.strength.",
    "region_attention.": "look.",
    "head.proposal_parts.": "head.span_parts.",
    "head.proposal_score.": "head.span_score.",
    "contrast.region_side.": "contrast.seen_side.",
    "memory.clip_query.": "mining.look.",
    "memory.sources": "mining.origins",
    "memory.position": "mining.place",
    "memory.": "mining.",
    "object_phrase.": "objects.",
    "activity_sentence.": "activities.",
}


def format_5_name(name: str) -> str:
    """Return the name that a weight has in a model folder of format 5."""
    for start, old_start in FORMAT_5_NAMES.items():
        if name.startswith(start):
            return old_start + name.removeprefix(start)
    return name


def features(
    clips: int = 12, *, regions: bool = True, duration: float | None = None, seed: int = 0, start: float = 0.0
) -> VideoFeatures:
    """Make random features of one video; a clip lasts half a second unless a duration is given."""
    generator = np.random.default_rng(seed)
    return VideoFeatures(
        clips=generator.normal(size=(clips, CLIP_DIM)).astype(np.float32),
        regions=generator.normal(size=(clips, REGIONS, REGION_DIM)).astype(np.float32) if regions else None,
        duration=clips / 2 if duration is None else duration,
        fingerprint=FINGERPRINT,
        start=start,
    )


def words(length: int = 4, seed: int = 0) -> Array:
    """Make random vectors of the words of one sentence."""
    return np.random.default_rng([1, seed]).normal(size=(length, WORD_DIM)).astype(np.float32)


def network(*, regions: bool = True, word_dim: int = WORD_DIM, **settings: Any) -> MKTN:
    """Build a small network in evaluation mode; its weights depend on their format 5 names and their shapes only."""
    inputs = {"clip_dim": CLIP_DIM, "word_dim": word_dim}
    if regions:
        inputs |= {"regions": REGIONS, "region_dim": REGION_DIM}
    net = build_network(NetworkConfig(**{**SIZES, **inputs, **settings}))
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            generator = np.random.default_rng(zlib.crc32(format_5_name(name).encode()))
            scale = 1.5 / np.sqrt(parameter.shape[-1]) if parameter.ndim > 1 else 0.3
            values = generator.normal(scale=scale, size=parameter.shape)
            parameter.copy_(torch.from_numpy(values) + (1.0 if "norm.weight" in name else 0.0))
    return net.eval()


def item(clips: int = 12, queries: int = 2, *, seed: int = 0, regions: bool = True) -> VideoItem:
    """Make one video with some sentences of different lengths and their true moments."""
    generator = np.random.default_rng([2, seed])
    spans = np.sort(generator.uniform(0, clips, size=(queries, 2)), axis=1).astype(np.float32)
    sentences = [words(2 + (seed + number) % 5, seed * 100 + number) for number in range(queries)]
    return VideoItem(features(clips, regions=regions, seed=seed), sentences, spans)


def items(shape: Sequence[tuple[int, int]] = RAGGED, *, regions: bool = True) -> list[VideoItem]:
    """Make ragged videos, each given by its clips and its number of sentences."""
    return [item(clips, queries, seed=seed, regions=regions) for seed, (clips, queries) in enumerate(shape)]


def batch(shape: Sequence[tuple[int, int]] = RAGGED, *, regions: bool = True) -> Batch:
    """Make the batch of `items`."""
    return collate(items(shape, regions=regions))


def targets(shape: Sequence[tuple[int, int]] = RAGGED) -> Targets:
    """Make the targets of `batch`."""
    return collate_targets(items(shape))


def dataset(folder: Path, videos: int = 6, *, seed: int = 0, name: str = "train", regions: bool = True) -> Dataset:
    """Make a data set that can be learned: a sentence names what part of a video shows. Feature files in `folder`."""
    generator = np.random.default_rng([3, seed])
    generator.normal(size=(len(COLOURS) * len(ACTIVITIES), CLIP_DIM))  # unused, but it decides the videos
    marks = np.random.default_rng(3).normal(scale=3, size=(len(COLOURS) * len(ACTIVITIES), CLIP_DIM))
    pairs: list[Pair] = []
    files: dict[str, Path] = {}
    for number in range(videos):
        video, clips = f"{name}{number}", 16 + int(generator.integers(9))
        vectors = generator.normal(scale=0.3, size=(clips, CLIP_DIM))
        for half, kind in enumerate(generator.choice(len(marks), 2, replace=False)):
            first = half * clips // 2 + int(generator.integers(1, 3))
            last = first + int(generator.integers(3, 6))
            vectors[first:last] += marks[kind]
            query = f"the {COLOURS[kind // 2]} thing {ACTIVITIES[kind % 2]}"
            pairs.append(Pair(f"{video}-{half}", video, query, ((first / 2, last / 2),), clips / 2))
        region_vectors = np.repeat(vectors[:, None, :REGION_DIM], REGIONS, axis=1) if regions else None
        files[video] = folder / f"{video}.safetensors"
        write_features(files[video], VideoFeatures(vectors.astype(np.float32), region_vectors, clips / 2, FINGERPRINT))
    return Dataset(name, pairs, FeatureStore(files, max_clips=32))


def model(*, text: str = "hashed", fingerprint: Settings = FINGERPRINT, **settings: Any) -> Model:
    """Make a model with the fixed weights of `network`."""
    encoder = build_text_encoder(text)
    return Model(network(word_dim=encoder.dim, **settings), encoder, fingerprint)


def model_folder(folder: Path, **settings: Any) -> Path:
    """Write the folder of `model`, as training does."""
    written = model(**settings)
    save_description(folder, written, {})
    save_weights(folder, written.network)
    (folder / "report.json").write_text("{}")
    return folder


def write_rows(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    """Write a jsonl file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(dict(row)) + "\n" for row in rows), encoding="utf-8")
    return path
