"""What the generators of hostile files share: cases, undamaged files to start from, and damage."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file

from mttsg_core.checkpoints.checkpoint import Model, save_description, save_weights
from mttsg_core.config import NetworkConfig
from mttsg_core.encoders import build_text_encoder
from mttsg_core.encoders.base import Settings
from mttsg_core.modeling.mktn import build_network

CLIPS, DIM, REGIONS, REGION_DIM, DURATION = 20, 6, 4, 3, 10.0
FINGERPRINT: Settings = {"encoder": "external", "clip_dim": DIM, "regions": REGIONS, "region_dim": REGION_DIM}
QUERIES = ["person opens door", "the red circle moves left"]
REFUSED, ANSWERED, EITHER = "refused", "answered", "either"
JUNK: list[Any] = [
    *(None, True, 0, -1, 0.5, 10**400, -(10**400), 1e308, 10**9, 2**62, float("nan"), float("inf"), -float("inf")),
    *("", "abc", "x" * 100_000, "../..", "/etc/passwd", "\0", "a\nb", [], [1], {}, {"a": [[]]}, [0] * 100_000),
]


@dataclass(frozen=True)
class Case:
    """A file to use.

    Attributes:
        path: the file or folder.
        what: what is wrong with it.
        expected: `refused`, `answered` as the undamaged file is, or `either`.
    """

    path: Path
    what: str
    expected: str = EITHER


class Payload:
    """Leaves a mark when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch PWNED",)


def make_base(folder: Path) -> Path:
    """Make a model, features and an encoder folder that are not damaged."""
    torch.manual_seed(0)
    text = build_text_encoder()
    sizes: dict[str, Any] = {"width": 16, "region_width": 8, "region_heads": 2, "head_width": 8, "proposal_width": 8}
    config = NetworkConfig(clip_dim=DIM, word_dim=text.dim, regions=REGIONS, region_dim=REGION_DIM, **sizes)
    network = build_network(config)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    save_description(folder / "model", Model(network, text, FINGERPRINT), {})
    save_weights(folder / "model", network)
    random = np.random.default_rng(0)
    clips = random.normal(size=(CLIPS, DIM)).astype(np.float32)
    regions = random.normal(size=(CLIPS, REGIONS, REGION_DIM)).astype(np.float32)
    save_features(folder / "good.safetensors", clips, regions)
    (folder / "encoder").mkdir()
    (folder / "encoder" / "config.json").write_text('{"model_type": "clip"}')
    save_file({"weight": clips}, folder / "encoder" / "model.safetensors")
    (folder / "queries.txt").write_text("\n".join(QUERIES))
    return folder


def save_features(path: Path, clips: np.ndarray, regions: np.ndarray | None, **metadata: Any) -> None:
    """Write a feature file with some metadata of its own."""
    recorded = json.dumps({"duration": DURATION, "fingerprint": FINGERPRINT, **metadata})
    arrays = {"clips": clips, "regions": regions}
    save_file({name: array for name, array in arrays.items() if array is not None}, path, {"mttsg": recorded})


def make_good(base: Path, kind: str) -> Case:
    """Return a file that is not damaged."""
    names = {"features": "good.safetensors", "models": "model", "encoders": "encoder", "queries": "queries.txt"}
    return Case(base / names[kind], "nothing", ANSWERED)


def damage(random: np.random.Generator, content: bytes) -> bytes:
    """Change, remove, repeat or insert some bytes, more often near the start, where headers are."""
    data = bytearray(content)
    for _ in range(int(random.integers(1, 6))):
        near = int(min(len(data), 10 ** random.uniform(0, 5)))
        first = int(random.integers(near)) if near else 0
        length = int(10 ** random.uniform(0, 2))
        kind = random.integers(5)
        if kind == 0:
            data[first : first + length] = random.bytes(length)
        elif kind == 1:
            del data[first : first + length]
        elif kind == 2:
            data[first:first] = data[first : first + length]
        elif kind == 3 and data:
            data[min(first, len(data) - 1)] ^= 1 << int(random.integers(8))
        else:
            del data[max(first, len(data) // 2) :]
    return bytes(data)


def pick(random: np.random.Generator, values: list[Any]) -> Any:
    """Return one of some values."""
    return values[int(random.integers(len(values)))]
