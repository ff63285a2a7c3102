"""Video durations published in files of their own, beside the annotations."""

from __future__ import annotations

import csv
import json
from functools import cached_property
from pathlib import Path

from mttsg_core.errors import DataError
from mttsg_core.utils.files import is_file, without_suffix
from mttsg_core.utils.json_lines import read_bytes
from mttsg_core.video.discovery import VIDEO_SUFFIXES


class DurationFiles:
    """Seconds by video, from the files beside an annotation file.

    Reads `durations*.json` (`{video: seconds}`) and csv files with the columns `id` and `length`, as Charades
    publishes them. The files are read on the first lookup.

    Args:
        folder: where the annotation file is.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, video: str) -> object:
        """Return the value listed for a video, unchecked, or None if it is not listed.

        Raises:
            DataError: if one of the files is broken.
        """
        return self._durations.get(video, self._durations.get(without_suffix(video, VIDEO_SUFFIXES)))

    @cached_property
    def _durations(self) -> dict[str, object]:
        durations: dict[str, object] = {}
        for path in filter(is_file, sorted(self._folder.glob("*.csv"))):
            durations.update(_read_csv(path))
        for path in filter(is_file, sorted(self._folder.glob("durations*.json"))):
            durations.update(_read_json(path))
        return durations


def _read_json(path: Path) -> dict[str, object]:
    try:
        content = json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: invalid JSON") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: not a JSON object of seconds by video")
    return content


def _read_csv(path: Path) -> dict[str, object]:
    """Return column `length` by column `id`, or nothing if the file lacks either."""
    lines = read_bytes(path).decode("utf-8", errors="replace").splitlines()
    if not lines or not {"id", "length"} <= set(lines[0].split(",")):
        return {}
    try:
        rows = [(row["id"], row["length"]) for row in csv.DictReader(lines)]
    except csv.Error as error:
        raise DataError(f"{path}: broken csv ({error})") from error
    return {video: _number_or_text(length) for video, length in rows if video and length}


def _number_or_text(text: str) -> object:
    try:
        return float(text)
    except ValueError:
        return text  # a row that needs this duration is reported with the text
