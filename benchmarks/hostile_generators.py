"""Seeded generators of hostile files: feature files, models, encoders and files of queries of strangers."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from hostile_cases import (
    EITHER,
    JUNK,
    QUERIES,
    REFUSED,
    Case,
    Payload,
    damage,
    pick,
)
from hostile_feature_files import hostile_features
from safetensors.torch import load_file as load_weights
from safetensors.torch import save_file as save_weight_file

from mttsg_core.checkpoints.checkpoint import CONFIG, WEIGHTS, WORDS


def hostile_model(random: np.random.Generator, base: Path, folder: Path) -> Case:
    """Make a model folder: with damaged weights, or a config that names mad settings or the encoders of others."""
    path = Path(shutil.copytree(base / "model", folder / "model"))
    makers = [damaged_bytes, mad_weights, other_weights, mad_entry, mad_setting, raw_config, loose_encoder]
    case: Case = pick(random, makers)(random, path)
    return case


def damaged_bytes(random: np.random.Generator, path: Path) -> Case:
    """Change bytes of the weights or the config."""
    file = path / pick(random, [CONFIG, WEIGHTS])
    file.write_bytes(damage(random, file.read_bytes()))
    return Case(path, f"bytes of {file.name}")


def mad_weights(random: np.random.Generator, path: Path) -> Case:
    """Make a weight infinite or not a number."""
    weights = load_weights(path / WEIGHTS)
    name = pick(random, [name for name, tensor in weights.items() if tensor.is_floating_point() and tensor.numel()])
    value = pick(random, [float("nan"), float("inf"), -float("inf")])
    weights[name].view(-1)[random.integers(weights[name].numel())] = value
    save_weight_file(weights, path / WEIGHTS)
    return Case(path, f"{name}: {value}", REFUSED)


def other_weights(random: np.random.Generator, path: Path) -> Case:
    """Write weights of another network."""
    weights = load_weights(path / WEIGHTS)
    name = pick(random, [name for name, tensor in weights.items() if tensor.is_floating_point() and tensor.dim()])
    kind = pick(random, ["missing", "more", "integers", "shape", "huge", "zero", "empty"])
    if kind == "missing":
        del weights[name]
    elif kind == "more":
        weights["x" * 1000 + "\n"] = torch.zeros(3)
    elif kind in ("huge", "zero"):
        value = 1e30 if kind == "huge" else 0.0
        weights = {name: torch.full_like(w, value) if w.is_floating_point() else w for name, w in weights.items()}
    else:
        changes = {"integers": weights[name].int(), "shape": weights[name][None], "empty": weights[name][:0]}
        weights[name] = changes[kind]
    save_weight_file(weights, path / WEIGHTS)
    return Case(path, f"{kind} {name}", REFUSED)


def mad_entry(random: np.random.Generator, path: Path) -> Case:
    """Replace an entry of the config."""
    config = json.loads((path / CONFIG).read_text())
    name, value = pick(random, [*config, "longest"]), pick(random, JUNK)
    (path / CONFIG).write_text(json.dumps({**config, name: value}))
    return Case(path, f"{name} = {value!r:.60}")


def mad_setting(random: np.random.Generator, path: Path) -> Case:
    """Replace a setting of the config."""
    config = json.loads((path / CONFIG).read_text())
    table = pick(random, ["network", "network", "network", "calibration", "features"])
    name = pick(random, [*config[table], "unheard_of"])
    config[table][name] = value = pick(random, JUNK)
    (path / CONFIG).write_text(json.dumps(config))
    return Case(path, f"{table}.{name} = {value!r:.60}")


def raw_config(random: np.random.Generator, path: Path) -> Case:
    """Write a config that is not an object."""
    content = pick(
        random, ["", " ", "[" * 200_000, '{"a":' * 200_000, "9" * 10_000, "[]", "null", "\0", " " * (8 << 20)]
    )
    (path / CONFIG).write_text(content)
    return Case(path, f"config {content[:20]!r}", REFUSED)


def loose_encoder(random: np.random.Generator, path: Path) -> Case:
    """Name an encoder whose content is not fixed."""
    config = json.loads((path / CONFIG).read_text())
    name = pick(
        random, ["evil/model", "evil/model@main", "/etc", "../..", "clip#../../../etc", "x" * 50_000, "\0", "a\nb"]
    )
    if random.random() < 0.5:
        config["text_encoder"] = name
    else:
        config["features"] = {"encoder": name, "fps": 2.0, "reader": "auto"}
    if random.random() < 0.2:
        config["text_encoder"] = "glove:words.txt"
        (path / WORDS).write_bytes(damage(random, b"\x40\0\0\0\0\0\0\0" + b'{"words":{"dtype":"U8"}}' * 3))
    (path / CONFIG).write_text(json.dumps(config))
    return Case(path, f"encoder {name:.60}", REFUSED)


def hostile_encoder(random: np.random.Generator, base: Path, folder: Path) -> Case:
    """Make an encoder folder: with a damaged config, shards outside of it, or pickled weights."""
    path = Path(shutil.copytree(base / "encoder", folder / "encoder"))
    kind = pick(random, ["config", "kind", "shards", "index", "pickle"])
    if kind == "config":
        (path / "config.json").write_bytes(damage(random, b'{"model_type": "clip", "layers": [1, 2, 3]}'))
        return Case(path, "bytes of config.json")
    if kind == "pickle":
        (path / "model.safetensors").rename(path / "pytorch_model.bin")
        (path / "pytorch_model.bin").write_bytes(pickle.dumps(Payload()))
    elif kind == "kind":
        value = pick(random, [value for value in JUNK if value not in ("abc", 0, 1, -1, 10**9, 2**62, 0.5)])
        (path / "config.json").write_text(json.dumps({"model_type": value}))
        return Case(path, f"model_type = {value!r:.60}")
    else:
        names = [
            "/etc/passwd",
            "../model/config.json",
            "..",
            "",
            "a/b.safetensors",
            "a\\b.safetensors",
            "\0",
            3,
            None,
            ["x"],
        ]
        shard = pick(random, names)
        index = {"weight_map": {"weight": shard}} if kind == "shards" else pick(random, [*JUNK, {"weight_map": shard}])
        (path / "model.safetensors.index.json").write_text(json.dumps(index))
    return Case(path, f"{kind}", REFUSED)


def hostile_queries(random: np.random.Generator, base: Path, folder: Path) -> Case:
    """Make a file of queries: with endless lines and words, bytes that are not text, or damaged JSON."""
    kind = pick(random, ["words", "word", "line", "bytes", "lines", "json", "mixed"])
    good = QUERIES[0].encode()
    if kind == "words":
        content = b"a " * int(10 ** random.uniform(3.1, 6.5))
    elif kind == "word":
        content = b"x" * int(10 ** random.uniform(4.1, 7))
    elif kind == "line":
        content = good + b"\n" + "é ".encode() * int(10 ** random.uniform(3.1, 6)) + b"\n" + good
    elif kind == "lines":
        content = b"\n".join([b"%d" % number for number in range(int(random.integers(2, 3000)))])
    elif kind == "bytes":
        content = random.bytes(int(random.integers(1, 5000)))
    else:
        rows = [{"query": pick(random, JUNK), "video": pick(random, JUNK)} for _ in range(5)]
        lines = [json.dumps(row).encode() for row in rows]
        lines += [b"[" * 100_000, b'{"query": ' + b"9" * 5000 + b"}", b'{"query": "\\ud800"}']
        content = b"\n".join(lines if kind == "mixed" else [damage(random, line) for line in lines])
    path = folder / "queries.txt"
    path.write_bytes(content)
    return Case(path, f"{kind}, {len(content)} bytes", REFUSED if kind in ("words", "word") else EITHER)


GENERATORS: dict[str, Callable[[np.random.Generator, Path, Path], Case]] = {
    "features": hostile_features,
    "models": hostile_model,
    "encoders": hostile_encoder,
    "queries": hostile_queries,
}
