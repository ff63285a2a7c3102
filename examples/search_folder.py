"""Search a folder of videos for a sentence, and cut the best moment out as an mp4.

python examples/search_folder.py videos/ "person opens door" --model model --out best.mp4
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mttsg_core import Grounder, Moment, MttsgError
from mttsg_core.video.discovery import find_videos
from mttsg_core.video.trim import trim


def main() -> None:
    """Print the five best moments of all videos, and write the first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("sentence")
    parser.add_argument(
        "--model", help="model; default: the newest run trained on these videos, else CLIP without training"
    )
    parser.add_argument("--out", type=Path, default=Path("best.mp4"))
    arguments = parser.parse_args()
    grounder = Grounder.load(arguments.model, videos=arguments.folder)
    candidates: list[tuple[Moment, Path]] = []
    for video in find_videos([arguments.folder]):
        try:
            candidates += [(moment, video.path) for moment in grounder.ground(video.path, arguments.sentence, top=1)]
        except MttsgError as error:  # a damaged file costs only itself
            print(f"skipped: {error}")
    candidates.sort(key=lambda pair: -pair[0].score)
    for moment, path in candidates[:5]:
        print(f"{moment.score:.2f}  {moment.start:8.2f} to {moment.end:8.2f} s  {path}")
    if candidates:
        moment, path = candidates[0]
        trim(path, moment.start, moment.end, arguments.out)
        print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
