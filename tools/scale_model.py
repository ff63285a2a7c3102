"""What many hours of video cost: measured figures of one hour, multiplied, with every assumption named.

    python tools/scale_model.py

prints the tables of docs/scale.md; a test holds that page to them. Change a figure here, not there.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace

from mttsg_core.search.shortlist import stage_sizes

_SIZES = (1, 1_000, 1_000_000)  # hours of video
_TOP = 10  # answers to a question
_ASSUMED = "**assumed**"


@dataclass(frozen=True)
class Figure:
    """A number that the model is made of.

    Attributes:
        value: the number.
        unit: its unit.
        about: what it is.
        source: what measured it; it begins with `assumed` if nothing did.
    """

    value: float
    unit: str
    about: str
    source: str


@dataclass(frozen=True)
class Figures:
    """Everything that is measured or assumed. Seconds are of one core (AMD EPYC, 2.6 GHz), and of an hour of video."""

    clips: Figure = Figure(7_200, "", "clips of an hour", "2 a second, the default")
    video: Figure = Figure(0.1, "h", "length of a video", f"{_ASSUMED}; a worker has one at a time")
    decode: Figure = Figure(
        50, "core s", "find and decode its frames, H.264, 480x360", "`benchmarks/encoder_speed.py`: 7.0 ms a frame"
    )
    decode_hd: Figure = Figure(
        12, "times", "the same of 1920x1080", f"{_ASSUMED}: as many times as there are more pixels"
    )
    classic: Figure = Figure(8.7, "core s", "encode with `classic`", "`benchmarks/extraction_speed.py`")
    clip_cpu: Figure = Figure(
        418, "core s", "encode with CLIP ViT-B/32 in bfloat16", "`benchmarks/encoder_speed.py`: 58 ms a frame"
    )
    clip_gpu: Figure = Figure(3.6, "GPU s", "the same on a GPU", f"{_ASSUMED}: 2,000 frames a second")
    classic_bytes: Figure = Figure(27e6, "bytes", "features by `classic`", "size of files, 0.45 MB a minute")
    clip_bytes: Figure = Figure(
        192e6, "bytes", "features by CLIP ViT-B/32", "512 numbers of 4 bytes and 16 x 768 of 2 a clip"
    )
    index_bytes: Figure = Figure(383, "bytes", "a clip in an index: vector, times and code", "see above")
    vectors: Figure = Figure(1.1, "core s", "make vectors of features", "`mttsg index`: 80 videos of 40 s a second")
    index: Figure = Figure(
        0.42, "core s", "write and build the index", "`benchmarks/index_search.py`: 58 s for 10^6 clips"
    )
    compare: Figure = Figure(
        0.35e-6, "core s", "compare a clip with a sentence", "`benchmarks/index_search.py`: 35 ms for 10^5 clips"
    )
    probe: Figure = Figure(0.008, "core s", "a question in 64 partitions of 10^6 clips", "`benchmarks/index_search.py`")
    more_probes: Figure = Figure(
        2, "times", "as many partitions for ten times the clips", f"{_ASSUMED}: for equal recall"
    )
    middle: Figure = Figure(2.6e-8, "core s", "compare the middle of a partition", f"{_ASSUMED}: 256 bytes at 10 GB/s")
    network: Figure = Figure(
        0.92,
        "core s",
        "answer one sentence in an hour of cached video, with regions",
        "`benchmarks/answer_speed.py`: 8.5 s for 50 sentences of 200 videos of 60 clips; of it the first sentence is "
        "18 % (`benchmarks/query_cost.py`)",
    )
    ask_cores: Figure = Figure(2, "", "cores that the network uses", "the limit of `mttsg`: more rarely help")
    cores: Figure = Figure(16, "", "cores of a computer", _ASSUMED)
    nodes: Figure = Figure(100, "", "computers of the cluster, with a GPU each", _ASSUMED)
    efficiency: Figure = Figure(
        0.8, "times", "linear speed, on a cluster", f"{_ASSUMED}; see [Benchmarks](benchmarks.md#a-cluster)"
    )
    link: Figure = Figure(
        1.25e9, "bytes a second", "features that one computer takes from the cluster", f"{_ASSUMED}: 10 Gbit/s"
    )
    disk: Figure = Figure(2e9, "bytes a second", "features that a disk reads", _ASSUMED)


@dataclass(frozen=True)
class Machine:
    """What extracts.

    Attributes:
        name: for the table.
        nodes: number of computers; more than one send features to one that asks.
        gpus: of each of them.
    """

    name: str
    nodes: float
    gpus: int


@dataclass(frozen=True)
class Encoder:
    """What a video encoder costs for an hour: see `Figures`."""

    name: str
    cpu: float
    gpu: float | None
    size: float


@dataclass(frozen=True)
class Plan:
    """What some hours of video cost on a machine.

    Attributes:
        stages: seconds on the clock of each stage, as if it were the only one.
        extraction: seconds until all features are there.
        stored: bytes of features.
        indexed: bytes of the index.
        question: seconds of each part of a question.
    """

    stages: dict[str, float]
    extraction: float
    stored: float
    indexed: float
    question: dict[str, float]

    @property
    def bottleneck(self) -> str:
        """The stage that takes longest."""
        return max(self.stages, key=lambda name: self.stages[name])

    @property
    def slowest_part(self) -> str:
        """The part of a question that takes longest."""
        return max(self.question, key=lambda name: self.question[name])


CHANGES = {
    "decode": "more cores, not more GPUs; only key frames near 2 a second, or a GPU's decoder",
    "encode": "a GPU; on CPUs `classic`, or 8-bit weights (1.7 times as fast)",
    "send": "workers that write to shared storage themselves; fewer regions a clip",
    "index": "vectors made by the workers beside the features, and one index for each part of the videos",
    "find": "an index of the middles; parts of the index on machines of their own, asked at once",
    "read": "features read only around the clips that were found, not of whole videos",
    "answer": "the network asked only around the clips that were found; a GPU",
}


def plan(hours: float, machine: Machine, encoder: Encoder, figures: Figures) -> Plan:
    """Return what some hours of video cost."""
    videos = math.ceil(hours / figures.video.value)
    cores = min(machine.nodes * figures.cores.value, videos)
    stages = {"decode": hours * figures.decode.value / cores}
    gpu = encoder.gpu if machine.gpus else None
    gpus = min(machine.nodes * machine.gpus, videos)
    stages["encode"] = hours * (encoder.cpu / cores if gpu is None else gpu / gpus)
    extraction = sum(stages.values()) if gpu is None else max(stages.values())  # both need the cores, or each its own
    stored = hours * encoder.size
    if machine.nodes > 1:
        stages = {name: seconds / figures.efficiency.value for name, seconds in stages.items()}
        stages["send"] = stored / figures.link.value
        extraction = max(extraction / figures.efficiency.value, stages["send"])
    stages["index"] = hours * (figures.vectors.value + figures.index.value)  # in one process
    indexed = hours * figures.clips.value * figures.index_bytes.value
    return Plan(stages, extraction, stored, indexed, ask(hours, encoder, figures))


def ask(hours: float, encoder: Encoder, figures: Figures) -> dict[str, float]:
    """Return the seconds of the parts of one question, asked on one computer with nothing in memory."""
    clips = hours * figures.clips.value
    if clips <= 1e5:
        find = clips * figures.compare.value
    else:
        more = figures.more_probes.value ** max(0.0, math.log10(clips / 1e6))
        find = figures.probe.value * more + clips / 8192 * figures.middle.value
    asked = (
        stage_sizes(math.ceil(hours / figures.video.value), _TOP, sentences=1).glanced * figures.video.value
    )  # hours
    return {
        "find": find,
        "read": asked * encoder.size / figures.disk.value,
        "answer": asked * figures.network.value / figures.ask_cores.value,
    }


def machines(figures: Figures) -> list[Machine]:
    """Return the machines of the tables."""
    return [
        Machine("CPU", 1, 0),
        Machine("one GPU (assumed)", 1, 1),
        Machine("cluster (assumed)", figures.nodes.value, 1),
    ]


def encoders(figures: Figures) -> list[Encoder]:
    """Return the encoders of the tables."""
    return [
        Encoder("CLIP ViT-B/32", figures.clip_cpu.value, figures.clip_gpu.value, figures.clip_bytes.value),
        Encoder("classic", figures.classic.value, None, figures.classic_bytes.value),
    ]


def tables(figures: Figures) -> str:
    """Return the tables as Markdown."""
    parts = ["\n".join(_table(("figure", "value", "source"), _figure_rows(figures)))]
    for encoder in encoders(figures):
        parts.append(f"With {encoder.name}:")
        parts.append("\n".join(_table(_COLUMNS, _plan_rows(encoder, figures))))
    cluster = machines(figures)[-1]
    clip = encoders(figures)[0]
    detailed = plan(_SIZES[-1], cluster, clip, replace(figures, decode=_times(figures.decode, figures.decode_hd)))
    parts.append(
        f"In 1920x1080, decoding {_SIZES[-1]:,} hours takes the cluster {duration(detailed.stages['decode'])}, and all "
        f"features by {clip.name} take {duration(detailed.extraction)}: then {detailed.bottleneck} is the bottleneck."
    )
    parts.append("\n".join(_table(("bottleneck", "what would be changed first"), CHANGES.items())))
    return "\n\n".join(parts)


def _times(figure: Figure, factor: Figure) -> Figure:
    return replace(figure, value=figure.value * factor.value)


_COLUMNS = ("hours", "on", "decode", "encode", "all features", "store", "index", "a question", "bottlenecks")


def _figure_rows(figures: Figures) -> Iterator[Sequence[str]]:
    for field in fields(figures):
        figure: Figure = getattr(figures, field.name)
        unit, large = figure.unit.removeprefix("bytes"), figure.unit.startswith("bytes") and figure.value >= 1e6
        value = f"{size(figure.value)}{unit}" if large else f"{figure.value:,.7g} {figure.unit}"
        yield figure.about, value.strip(), figure.source


def _plan_rows(encoder: Encoder, figures: Figures) -> Iterator[Sequence[str]]:
    for hours in _SIZES:
        for machine in machines(figures):
            if encoder.gpu is None and machine.nodes == 1 and machine.gpus:
                continue  # a GPU does nothing for it
            cost = plan(hours, machine, encoder, figures)
            yield (
                f"{hours:,}",
                machine.name,
                duration(cost.stages["decode"]),
                duration(cost.stages["encode"]),
                duration(cost.extraction),
                f"{size(cost.stored)} + {size(cost.indexed)}",
                duration(cost.stages["index"]),
                duration(sum(cost.question.values())),
                f"{cost.bottleneck}; {cost.slowest_part}",
            )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield _row(head)
    yield _row(["---"] * len(head))
    yield from map(_row, rows)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it, with two digits."""
    return _scaled(seconds, ((1e-3, "ms"), (1, "s"), (60, "min"), (3600, "h"), (86_400, "days"), (31_557_600, "years")))


def size(count: float) -> str:
    """Return bytes in the unit that suits them, with two digits."""
    return _scaled(count, ((1e6, "MB"), (1e9, "GB"), (1e12, "TB")))


def _scaled(value: float, units: Sequence[tuple[float, str]]) -> str:
    scale, name = next((unit for unit in reversed(units) if value >= 1.5 * unit[0]), units[0])
    scaled = value / scale
    digits = 0 if scaled >= 100 else max(0, 1 - math.floor(math.log10(scaled)))
    return f"{float(f'{scaled:.2g}'):,.{digits}f} {name}"


def main(write: Callable[[str], object] = sys.stdout.write) -> int:
    """Print the tables."""
    write(tables(Figures()) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
