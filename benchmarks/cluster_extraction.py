"""Measure how extraction scales with the nodes of a cluster of Ray: `classic` features on nodes of one CPU each.

    PYTHONPATH=. python benchmarks/cluster_extraction.py

Makes small videos, starts a cluster of two nodes on this computer, extracts with one worker and with two, and again.
Time counts from the first video that is done, as workers are started once; what came before is printed beside it. Where
this computer has other work, nodes do not have a CPU each: then CPU time says what the work itself costs more on two
nodes than on one. It is read from /proc, so this needs Linux.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mttsg_core import ExtractOptions, FeatureOptions, extract
from mttsg_core.features.cluster import ClusterOptions
from mttsg_core.features.extraction import Extracted
from tests.helpers.video_files import write_video

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


_NODE = {"num_cpus": 1, "object_store_memory": 80 << 20, "include_dashboard": False}
_TICKS = os.sysconf("SC_CLK_TCK")
_ROUNDS = 2


@dataclass
class Run:
    """One extraction, as its events come.

    Attributes:
        began: when it began.
        first, last: when the first and the last video were done.
        cpu_first, cpu_last: CPU seconds by worker then, with the processes below it.
        done: number of videos.
    """

    began: float = field(default_factory=time.perf_counter)
    first: float = 0.0
    last: float = 0.0
    cpu_first: dict[int, float] = field(default_factory=dict)
    cpu_last: dict[int, float] = field(default_factory=dict)
    done: int = 0

    def note(self, event: object) -> None:
        """Take note of an event."""
        if isinstance(event, Extracted):
            self.done += 1
            self.last, cpu = time.perf_counter(), cpu_of_workers()
            self.cpu_last |= cpu
            if self.done == 1:
                self.first, self.cpu_first = self.last, cpu

    @property
    def seconds(self) -> float:
        """On the clock, after the first video."""
        return self.last - self.first

    @property
    def cpu(self) -> list[float]:
        """CPU seconds of each worker after the first video."""
        return [seconds - self.cpu_first.get(worker, 0.0) for worker, seconds in sorted(self.cpu_last.items())]


def cpu_of_workers() -> dict[int, float]:
    """Return the CPU seconds of every worker of the cluster and of the processes below it."""
    parents: dict[int, int] = {}
    seconds: dict[int, float] = {}
    workers = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue  # it has ended
        process = int(folder.name)
        parents[process] = int(fields[1])
        seconds[process] = (int(fields[11]) + int(fields[12])) / _TICKS
        if command.startswith(b"ray::RayWorker"):
            workers.append(process)
    return {
        worker: sum(used for process, used in seconds.items() if worker in (process, parents[process]))
        for worker in workers
    }


def measure(videos: Path, out: Path, address: str, workers: int) -> Run:
    """Extract all videos with so many workers."""
    run = Run()
    report = extract(
        videos,
        out,
        features=FeatureOptions(encoder="classic"),
        options=ExtractOptions(workers=workers, cluster=ClusterOptions(address)),
        on_event=run.note,
    )
    if report.failures or run.done != report.videos:
        raise SystemExit(f"{len(report.failures)} videos failed: {report.failures[:1]}")
    cpu = " + ".join(f"{seconds:.1f}" for seconds in run.cpu)
    load = os.getloadavg()[0]
    start = run.first - run.began
    print(f"{workers} worker(s): {run.seconds:.1f} s ({start:.1f} s before), CPU {cpu} s, load {load:.1f}", flush=True)
    return run


def main() -> int:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--videos", type=int, default=200, help="number of videos (default: 200)")
    parser.add_argument("--seconds", type=int, default=8, help="length of each (default: 8)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as name:
        os.environ["RAY_TMPDIR"] = name
        folder, videos = Path(name), Path(name) / "videos"
        videos.mkdir()
        first = write_video(folder / "first.mp4", range(25 * arguments.seconds), size=(320, 240))
        for number in range(arguments.videos):
            shutil.copy(first, videos / f"{number}.mp4")
        from ray.cluster_utils import Cluster

        cluster: Any = Cluster(initialize_head=True, head_node_args=_NODE)
        try:
            cluster.add_node(**_NODE)
            print(f"{arguments.videos} videos of {arguments.seconds} s")
            for turn in range(_ROUNDS):
                one, two = (measure(videos, folder / f"{turn}-{n}", cluster.address, n) for n in (1, 2))
                on_clock = one.seconds / two.seconds / 2
                in_cpu_time = sum(one.cpu) / max(two.cpu) / 2
                print(f"two against one: {on_clock:.2f} x linear on the clock, {in_cpu_time:.2f} x in CPU time")
        finally:
            cluster.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
