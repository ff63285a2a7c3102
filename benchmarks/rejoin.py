"""Make many videos of the moments of a few: those of a data folder are cut out once, and joined again at random.

    PYTHONPATH=. python benchmarks/rejoin.py ../shared/real_pixels rejoined/ --videos 500

Each video shows 3 to 6 moments with different sentences. `rejoined/videos` and `rejoined/test.jsonl` are a data folder.
Meant for data whose videos are clips joined, so that nothing is cut that belongs together. A moment is in several of
the new videos, so that several answers to a sentence are about equally good.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from mttsg_core.utils.json_lines import write_json_lines
from mttsg_core.video.join import Piece, join
from mttsg_core.video.mp4_writer import PictureForm
from mttsg_core.video.trim import trim

FEWEST, MOST = 3, 6  # moments of a video


class Cut(NamedTuple):
    """A moment, cut out. Attributes: its sentence, and the file with its length."""

    query: str
    piece: Piece


def main() -> None:
    """Cut, and join."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="data folder with videos/ and rows")
    parser.add_argument("out", type=Path, help="new folder")
    parser.add_argument("--videos", type=int, default=500, help="number of videos to make")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    (given.out / "videos").mkdir(parents=True)
    drawn = random.Random(given.seed)
    with TemporaryDirectory() as folder:
        cuts = cut_out(given.data, Path(folder))
        rows = []
        for number in range(given.videos):
            chosen: dict[str, Cut] = {}
            for cut in drawn.sample(cuts, len(cuts)):
                chosen.setdefault(cut.query, cut)
            parts = [*chosen.values()][: drawn.randint(FEWEST, MOST)]
            path = Path("videos") / f"{number:05}.mp4"
            join([cut.piece for cut in parts], given.out / path)
            rows += rows_of(path, parts)
    write_json_lines(given.out / "test.jsonl", rows)
    print(f"{given.videos} videos of {len(cuts)} moments in {given.out}")


def cut_out(data: Path, folder: Path) -> list[Cut]:
    """Cut every moment of the rows of a data folder out, all with pictures of one form."""
    rows = [json.loads(line) for file in sorted(data.glob("*.jsonl")) for line in file.read_text("utf-8").splitlines()]
    form: PictureForm | None = None
    cuts = []
    for number, row in enumerate(rows):
        target = folder / f"{number}.mp4"
        form = trim(data / row["video"], row["start"], row["end"], target, form=form).form
        cuts.append(Cut(row["query"], Piece(target, row["end"] - row["start"])))
    return cuts


def rows_of(path: Path, parts: list[Cut]) -> list[dict[str, str | float]]:
    """Return the rows of a joined video."""
    rows: list[dict[str, str | float]] = []
    start = 0.0
    duration = round(sum(cut.piece.seconds for cut in parts), 3)
    for cut in parts:
        end = start + cut.piece.seconds
        moment: dict[str, str | float] = {"start": round(start, 3), "end": min(duration, round(end, 3))}
        rows.append({"video": path.as_posix(), "query": cut.query, **moment, "duration": duration})
        start = end
    return rows


if __name__ == "__main__":
    main()
