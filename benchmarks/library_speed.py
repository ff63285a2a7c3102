"""Measure how long a library of many indexed videos takes to answer a sentence, from the first question on.

    PYTHONPATH=. python benchmarks/library_speed.py --videos 1000
    PYTHONPATH=. python benchmarks/library_speed.py --videos 1000 --regions 49

The features are made up, of 75 clips of 512 numbers each, and the network has random weights and its default size; both
take as long as real ones. An index is opened again and again, and asked one sentence: the first answer of a program
whose model is loaded. Then one library is asked different sentences, one after the other, and further ones after all
videos were encoded, as `serve` and `search` do while nobody asks. Figures are median and 95th percentile of
milliseconds on the clock and of CPU time; the goal is 300 ms for 1,000 videos.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from many_queries import SENTENCES

from mttsg_core.checkpoints.checkpoint import Model, load_model
from mttsg_core.config import NetworkConfig
from mttsg_core.encoders import build_text_encoder
from mttsg_core.encoders.base import Settings
from mttsg_core.features.store import EXTERNAL, FeatureCache, VideoFeatures, write_features
from mttsg_core.inference.grounder import Grounder
from mttsg_core.inference.predictor import MKTNPredictor
from mttsg_core.modeling.mktn import build_network
from mttsg_core.search.index import IndexedVideo
from mttsg_core.search.index_folder import IndexFolder
from mttsg_core.search.lance_index import LanceIndex
from mttsg_core.search.spaces import ClipVectors, clip_space
from mttsg_core.workflows.library import VideoLibrary

REGION_DIM = 34
AT_ONCE = 32  # videos that are added in one step


def main() -> None:
    """Measure, and print all figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--videos", type=int, default=1000, help="number of videos")
    parser.add_argument("--clips", type=int, default=75, help="of a video")
    parser.add_argument("--width", type=int, default=512, help="of a clip vector")
    parser.add_argument("--regions", type=int, default=0, help="of a clip")
    parser.add_argument("--model", type=Path, help="a trained model for such features; default: random weights")
    parser.add_argument("--sentences", type=int, default=50, help="different questions of one library")
    parser.add_argument("--openings", type=int, default=10, help="first questions")
    parser.add_argument("--top", type=int, default=10, help="moments of an answer")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as folder:
        grounder = make_grounder(given, Path(folder) / "cache")
        make_index(given, grounder, Path(folder) / "index")
        print(f"{given.videos} videos of {given.clips} clips of {given.width}, {given.regions} regions")
        first, opening = [], []
        for number in range(given.openings):
            began = time.perf_counter()
            library = VideoLibrary([Path(folder) / "index"], grounder)
            opening.append(((time.perf_counter() - began), 0.0))
            first.append(ask(library, SENTENCES[-1 - number], given.top))
        report("opening an index", opening)
        report("its first answer", first)
        library = VideoLibrary([Path(folder) / "index"], grounder)
        asked = [ask(library, sentence, given.top) for sentence in SENTENCES[: given.sentences]]
        report(f"its answers 1 to {len(asked)}", asked)
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in library.iter_encode():
            pass
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print(f"the rest of the videos are encoded in {wall:.1f} s, {cpu:.1f} s of CPU time")
        asked = [ask(library, sentence, given.top) for sentence in SENTENCES[-given.sentences :]]
        report(f"{len(asked)} further answers", asked)
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB of memory at most")


def make_grounder(given: argparse.Namespace, cache: Path) -> Grounder:
    """Return a grounder for features as `make_index` writes them."""
    if given.model:
        return Grounder(MKTNPredictor(load_model(given.model, device="cpu", offline=True)), FeatureCache(cache))
    torch.manual_seed(0)
    text = build_text_encoder()
    sizes = {"regions": given.regions, "region_dim": REGION_DIM if given.regions else 0}
    fingerprint: Settings = {"encoder": EXTERNAL, "clip_dim": given.width, **sizes}
    network = build_network(NetworkConfig(clip_dim=given.width, word_dim=text.dim, **sizes))
    return Grounder(MKTNPredictor(Model(network, text, fingerprint)), FeatureCache(cache))


def make_index(given: argparse.Namespace, grounder: Grounder, folder: Path) -> None:
    """Write features to the cache, and an index of their videos, which do not exist."""
    space = clip_space(grounder)
    assert space is not None
    folder.mkdir()
    regions = np.zeros((1, given.regions, REGION_DIM), dtype=np.float32) if given.regions else None
    zeros = np.zeros((1, given.width), dtype=np.float32)
    sample = space.clips(VideoFeatures(zeros, regions, 1.0, grounder.fingerprint))
    index = LanceIndex(folder, space.fingerprint, space.dim, space.widths)
    vectors, videos = {}, []
    for number in range(given.videos):
        random = np.random.default_rng(number)
        clips = random.normal(size=(given.clips, given.width)).astype(np.float32)
        regions = None
        if given.regions:
            regions = random.normal(size=(given.clips, given.regions, REGION_DIM)).astype(np.float32)
        features = VideoFeatures(clips, regions, given.clips / 2, grounder.fingerprint)
        entry, identity = Path("made-up", f"{number}.safetensors"), f"{number:016x}"
        write_features(grounder.cache.folder / entry, features)
        count = sample.vectors.shape[0] * given.clips
        made = random.normal(size=(count, space.dim)).astype(np.float32)
        made /= np.linalg.norm(made, axis=1, keepdims=True)
        vectors[identity] = ClipVectors(made, np.tile(sample.times, (given.clips, 1)))
        path = folder / f"{number:06}.mp4"
        videos.append(IndexedVideo(path, path.name, identity, 1, 1, given.clips / 2, count, str(entry)))
        if len(vectors) == AT_ONCE or number + 1 == given.videos:
            index.add(vectors)
            index.put(videos)
            vectors, videos = {}, []
    index.tidy()
    IndexFolder(folder).write()


def ask(library: VideoLibrary, sentence: str, top: int) -> tuple[float, float]:
    """Ask a sentence, and return the seconds on the clock and of CPU time that the answer took."""
    wall, cpu = time.perf_counter(), time.process_time()
    hits = library.ask(sentence, top)
    taken = time.perf_counter() - wall, time.process_time() - cpu
    assert len(hits) == top
    return taken


def report(name: str, seconds: list[tuple[float, float]]) -> None:
    """Print median and 95th percentile."""
    wall, cpu = (1e3 * np.array(column) for column in zip(*seconds, strict=True))
    print(
        f"{name:<24} clock {np.median(wall):6.0f} ms, 95 % below {np.quantile(wall, 0.95):6.0f} ms; "
        f"CPU {np.median(cpu):6.0f} ms, 95 % below {np.quantile(cpu, 0.95):6.0f} ms",
        flush=True,
    )


if __name__ == "__main__":
    main()
