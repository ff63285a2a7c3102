"""Seeded generators of hostile files: feature files, models, encoders and files of queries of strangers."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from safetensors.numpy import save_file
from safetensors.torch import load_file as load_weights
from safetensors.torch import save_file as save_weight_file

from mttsg_core.checkpoints.checkpoint import CONFIG, WEIGHTS, WORDS, Model, save_description, save_weights
from mttsg_core.config import NetworkConfig
from mttsg_core.encoders import build_text_encoder
from mttsg_core.encoders.base import Settings
from mttsg_core.features.store import read_features
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


def hostile_features(random: np.random.Generator, base: Path, folder: Path) -> Case:
    """Make a feature file: of every format, with damaged bytes, mad values, wrong shapes, or that wants memory."""
    make = pick(
        random, [damaged_features, mad_metadata, mad_values, wrong_array, bomb, other_file, not_a_file, pickled]
    )
    return make(random, base, folder)


def damaged_features(random: np.random.Generator, base: Path, folder: Path) -> Case:
    """Change bytes of a feature file."""
    features = read_features(base / "good.safetensors")
    suffix = pick(random, [".npy", ".npz", ".safetensors", ".h5"])
    path = save_array(folder / f"a{suffix}", features.clips)
    path.write_bytes(damage(random, path.read_bytes()))
    return Case(path, f"bytes of a {suffix} file")


def mad_metadata(random: np.random.Generator, base: Path, folder: Path) -> Case:
    """Record mad numbers and texts in a feature file."""
    features = read_features(base / "good.safetensors")
    path = folder / "a.safetensors"
    name = pick(random, ["duration", "start", "lost_clips", "fingerprint", "encoder", "fps", "raw"])
    value = pick(random, JUNK)
    if name == "raw":
        text = pick(random, ["", "[" * 100_000, "9" * 5000, "{", json.dumps(value), '{"a":' * 50_000])
        save_file({"clips": features.clips}, path, {"mttsg": text})
    elif name in ("encoder", "fps"):
        save_features(path, features.clips, features.regions, fingerprint={**FINGERPRINT, name: value})
    else:
        save_features(path, features.clips, features.regions, **{name: value})
    return Case(path, f"{name} = {value!r:.60}")


def mad_values(random: np.random.Generator, base: Path, folder: Path) -> Case:
    """Write a value that no features have."""
    features = read_features(base / "good.safetensors")
    value = pick(random, [np.nan, np.inf, -np.inf, 3e38, -1e20, 1e300])
    clips = features.clips.astype(np.float64 if value == 1e300 else np.float32)
    clips[random.integers(CLIPS), random.integers(DIM)] = value
    suffix = pick(random, [".npy", ".npz", ".safetensors", ".h5"])
    return Case(save_array(folder / f"a{suffix}", clips), f"a value of {value}", REFUSED)


def wrong_array(random: np.random.Generator, base: Path, folder: Path) -> Case:
    """Write an array that is not features."""
    shape = pick(random, [(), (0,), (5,), (0, 6), (20, 0), (20, 7), (2, 3, 4, 5), (20, 4, 3), (1, 20, 7)])
    dtype = pick(random, ["f4", "i8", "?", "S5", "c8", ">f4", "f2", "m8[s]"])
    suffix = pick(random, [".npy", ".npz"])
    path = save_array(folder / f"a{suffix}", np.zeros(shape, dtype))
    return Case(path, f"{dtype} of shape {shape}", REFUSED)


def bomb(random: np.random.Generator, base: Path, folder: Path) -> Case:
    """Make a small file that announces gigabytes."""
    shape = pick(random, [(10**6, 1024), (2**40, 2**20), (10**9, 6), (10**8, 4, 3)])
    kind = pick(random, ["npy", "npz", "zeros", "h5", "safetensors"])
    path = folder / f"a.{'npz' if kind == 'zeros' else kind}"
    size = min(4 * int(np.prod(shape, dtype=object)), 2**42)
    if kind == "npy":
        path.write_bytes(npy_header(shape))
        os.truncate(path, size + 128)
    elif kind == "h5":
        with h5py.File(path, "w") as file:
            file.create_dataset("video", shape, dtype="f4", chunks=(1024, 1, 1)[: len(shape)])
    elif kind == "safetensors":
        content = json.dumps({"clips": {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}}).encode()
        path.write_bytes(len(content).to_bytes(8, "little") + content)
        os.truncate(path, 8 + len(content) + size)
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            whole = npy_header((1 << 19, 64)) + bytes(1 << 27)
            archive.writestr("clips.npy", whole if kind == "zeros" else npy_header(shape) + bytes(1 << 20))
    return Case(path, f"{kind} of shape {shape}", REFUSED)


def npy_header(shape: tuple[int, ...]) -> bytes:
    """Return the start of a file in NumPy's format."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return header.getvalue()


def other_file(random: np.random.Generator, base: Path, folder: Path) -> Case:
    """Make an HDF5 file whose numbers are in another file."""
    secret, target = folder / "secret.bin", folder / "secret.h5"
    numbers = np.ones((CLIPS, DIM), np.float32)
    secret.write_bytes(numbers.tobytes())
    save_array(target, numbers)
    kind = pick(random, ["external", "virtual", "link", "pipe", "soft"])
    with h5py.File(folder / "a.h5", "w") as file:
        if kind == "external":
            file.create_dataset("video", numbers.shape, dtype="f4", external=[(str(secret), 0, numbers.nbytes)])
        elif kind == "virtual":
            layout = h5py.VirtualLayout(numbers.shape, dtype="f4")
            layout[:] = h5py.VirtualSource(target, "video", numbers.shape)
            file.create_virtual_dataset("video", layout)
        elif kind == "pipe":
            os.mkfifo(folder / "pipe")
            file["video"] = h5py.ExternalLink(str(folder / "pipe"), "video")
        else:
            file["other"] = h5py.ExternalLink(str(target), "video")
            file["video"] = h5py.SoftLink("/other") if kind == "soft" else h5py.ExternalLink(str(target), "video")
    return Case(folder / "a.h5", kind, REFUSED)


def not_a_file(random: np.random.Generator, base: Path, folder: Path) -> Case:
    """Make something that is not a regular file."""
    path = folder / f"a{pick(random, ['.npy', '.npz', '.safetensors', '.h5'])}"
    kind = pick(random, ["pipe", "device", "folder", "loop", "missing"])
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind != "missing":
        path.symlink_to("/dev/zero" if kind == "device" else path.name)
    return Case(path, kind, REFUSED)


def pickled(random: np.random.Generator, base: Path, folder: Path) -> Case:
    """Pickle an object that would leave a mark."""
    path = folder / f"a{pick(random, ['.npy', '.npz', '.pt', '.pkl', '.h5', '.safetensors'])}"
    if path.suffix == ".npz":
        np.savez(path, clips=np.array([Payload()], dtype=object))
    elif path.suffix == ".npy" and random.random() < 0.5:
        np.save(path, np.array([Payload()], dtype=object), allow_pickle=True)
    else:
        path.write_bytes(pickle.dumps(Payload()))
    return Case(path, "a pickle", REFUSED)


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
    kind = pick(random, ["missing", "more", "integers", "shape", "huge", "empty"])
    if kind == "missing":
        del weights[name]
    elif kind == "more":
        weights["x" * 1000 + "\n"] = torch.zeros(3)
    elif kind == "huge":
        weights = {name: torch.full_like(w, 1e30) if w.is_floating_point() else w for name, w in weights.items()}
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
    """Make a file of queries: with endless lines and words, bytes that are no text, or damaged JSON."""
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


def save_array(path: Path, array: np.ndarray) -> Path:
    """Write an array as the features of a video, in the format of the suffix."""
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".npz":
        np.savez_compressed(path, clips=array)
    elif path.suffix == ".safetensors":
        save_file({"clips": array}, path)
    else:
        with h5py.File(path, "w") as file:
            file["video"] = array
    return path


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


GENERATORS: dict[str, Callable[[np.random.Generator, Path, Path], Case]] = {
    "features": hostile_features,
    "models": hostile_model,
    "encoders": hostile_encoder,
    "queries": hostile_queries,
}
