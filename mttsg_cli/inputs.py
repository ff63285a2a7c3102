"""What the words of a command line mean: videos, then sentences. Nothing heavy is imported to tell a wrong path."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mttsg_core.errors import ConfigError, DataError, VideoNotFoundError
from mttsg_core.search.index_folder import is_index
from mttsg_core.utils.named_paths import expand_pattern, find_path, is_address, is_pattern, missing_reason, shown_path
from mttsg_core.video.discovery import VIDEO_SUFFIXES
from mttsg_core.video.identify import PICTURE_SUFFIXES

SPLIT = "\0--"  # stands among the words where `--` was; no argument of a program can contain a null character
_LONE_WORDS = 3  # sentences of one word, from which on they are probably one sentence without quotes


@dataclass(frozen=True)
class Inputs:
    """What to ask about.

    Attributes:
        videos: video files, and folders to search for videos.
        sentences: from the command line.
        hints: on words that may be meant otherwise.
    """

    videos: tuple[Path, ...]
    sentences: tuple[str, ...]
    hints: tuple[str, ...] = ()

    @property
    def are_searched(self) -> bool:
        """Whether these may be several videos, which are answered best first, rather than one."""
        return len(self.videos) > 1 or self.have_folder

    @property
    def have_folder(self) -> bool:
        """Whether there is a folder, in which sentences may name videos."""
        return any(path.is_dir() for path in self.videos)

    @property
    def index(self) -> Path | None:
        """The index that is asked, or None for videos. Raises ConfigError for an index among other things."""
        found = [path for path in self.videos if is_index(path)]
        if found and len(self.videos) > 1:
            raise ConfigError(f"{found[0]}: an index is asked by itself, without other videos")
        return found[0] if found else None

    def __str__(self) -> str:
        return ", ".join(map(str, self.videos))


def read_inputs(words: Sequence[str], *, must_exist: bool = True) -> Inputs:
    """Tell videos from sentences.

    A word that exists is a video or a folder, and a pattern such as `*.mp4` stands for what it matches; the others are
    sentences. What is before `--` are videos, what is after it are sentences, whatever exists.

    Args:
        words: of the command line, with `SPLIT` where `--` was.
        must_exist: whether a video must exist; with external features it need not.

    Raises:
        VideoNotFoundError: if the first word, one before `--`, or one that looks like a path, does not exist.
        ConfigError: if no video is named.
    """
    before, after = _split(words)
    videos: list[Path] = []
    sentences = list(after or ())
    late: list[str] = []
    for index, word in enumerate(before):
        paths = _find(word)
        if not paths and (after is not None or index == 0 or _looks_like_path(word)):
            if must_exist or is_address(word):
                raise _missing(word, is_first=index == 0, others=before[1:], is_split=after is not None)
            paths = [Path(word)]
        if not paths:
            sentences.append(word)
            continue
        videos += paths
        if sentences and after is None:
            late.append(word)
    if not videos:
        raise ConfigError("no video: name one before the sentence")
    return Inputs(tuple(videos), tuple(sentences), tuple(_hints(sentences, late, is_split=after is not None)))


def find_named(words: Sequence[str]) -> list[Path]:
    """Return files and folders that a command takes any number of; patterns are expanded.

    Raises:
        VideoNotFoundError: for a web address.
    """
    paths: list[Path] = []
    for word in words:
        if is_address(word) and find_path(word) is None:
            raise VideoNotFoundError(shown_path(word), missing_reason(word))
        paths += _find(word) or [Path(word)]
    if not any(os.path.lexists(path) for path in paths):
        raise VideoNotFoundError(str(paths[0]), missing_reason(paths[0]))
    return paths


def require_data(path: Path, *, or_file: bool = False, **options: Path | Sequence[str] | None) -> None:
    """Refuse a data folder that does not exist, before anything is imported to read it.

    Args:
        path: the data folder.
        or_file: whether a file will do.
        options: files and folders given with options, see `require_given`.

    Raises:
        DataError: if it does not exist, or is a file and must not be one.
        ConfigError: as `require_given`.
    """
    if not path.exists():
        raise DataError(f"{shown_path(path)}: {missing_reason(path, 'folder')}")
    if not or_file and not path.is_dir():
        raise DataError(f"{path}: not a folder")
    require_given(**options)


def require_given(**paths: Path | Sequence[str] | None) -> None:
    """Raise ConfigError for a file or folder that was given with an option, by its name here, and does not exist.

    Of an option that is given several times, each value may be `NAME=PATH`.
    """
    for option, value in paths.items():
        for path in [value] if isinstance(value, Path) else map(_without_name, value or ()):
            if str(path) != "-" and not os.path.lexists(path):
                raise ConfigError(f"{shown_path(path)}: {missing_reason(path)} (--{option})")


def _without_name(text: str) -> Path:
    """Return the path in `NAME=PATH`, or the whole text if it exists."""
    return Path(text if os.path.lexists(text) else text.partition("=")[2] or text)


def mark_split(arguments: Sequence[str], options_with_value: frozenset[str] = frozenset()) -> list[str]:
    """Return the arguments of a command with `SPLIT` before the `--` that ends its options.

    >>> mark_split(["a.mp4", "--", "b.mp4"])
    ['a.mp4', '\\x00--', '--', 'b.mp4']

    Args:
        arguments: of the command.
        options_with_value: options whose value may be `--` itself.
    """
    for index, argument in enumerate(arguments):
        if argument == "--" and not (index and arguments[index - 1] in options_with_value):
            return [*arguments[:index], SPLIT, *arguments[index:]]
    return list(arguments)


def _split(words: Sequence[str]) -> tuple[list[str], list[str] | None]:
    """Return the words before and after `--`; None if nothing is said to be after it.

    A `--` before all words is the usual end of the options, which may be followed by names that begin with a dash; then
    a second one divides.
    """
    words = list(words)
    if SPLIT not in words:
        return words, None
    index = words.index(SPLIT)
    before, after = words[:index], words[index + 1 :]
    if before:
        return before, after
    if "--" not in after:
        return after, None
    index = after.index("--")
    return after[:index], after[index + 1 :]


def _find(word: str) -> list[Path]:
    """Return what a word names: itself if it exists, else what it matches as a pattern."""
    path = find_path(word)
    if path is not None:
        return [path]
    matches = expand_pattern(word)
    suffix = Path(word).suffix.lower()
    suffixes = {*VIDEO_SUFFIXES} - ({*PICTURE_SUFFIXES} - {suffix})
    return [path for path in matches if path.is_dir() or path.suffix.lower() in suffixes] or matches


def _looks_like_path(word: str) -> bool:
    """Return whether a word that does not exist is rather a misspelled path than a sentence."""
    if is_address(word) or (Path(word).suffix.lower() in VIDEO_SUFFIXES and word.isprintable()):  # as people type it
        return True
    if any(character.isspace() for character in word):
        return False
    folder = os.path.dirname(word)  # noqa: PTH120 - of text, which may be no path at all
    begins_as_path = word.startswith(("/", "./", "../", "~/"))
    return begins_as_path or word.endswith(os.sep) or (folder != "" and find_path(folder) is not None)


def _missing(word: str, *, is_first: bool, others: Sequence[str], is_split: bool) -> VideoNotFoundError:
    """Return the error for a word that should be a video."""
    reason = missing_reason(word) if word.strip() else "no video has this name"
    if is_split:
        reason += " (words before -- are videos)"
    elif is_first and any(character.isspace() for character in word) and any(map(_find, others)):
        reason += " (videos come before the sentences)"
    elif not is_first and not is_address(word) and not is_pattern(word):
        reason += "; if it is a sentence, put -- before it"
    return VideoNotFoundError(shown_path(word), reason)


def _hints(sentences: Sequence[str], late: Sequence[str], *, is_split: bool) -> list[str]:
    hints = [
        f"{word} exists, so it is searched; to ask for it as a sentence, put -- before the sentences" for word in late
    ]
    if len(sentences) >= _LONE_WORDS and not is_split and all(len(sentence.split()) == 1 for sentence in sentences):
        hints.append(f'{len(sentences)} sentences of one word each; if they are one, quote it: "{" ".join(sentences)}"')
    return hints
