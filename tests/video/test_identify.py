"""What a file is by its bytes: foreign files, encryption, unfinished downloads, and suffixes that prove little."""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from mttsg_core.errors import CorruptVideoError, NotAVideoError, UnsupportedVideoError, VideoError
from mttsg_core.video.identify import WEAK_SUFFIXES, is_video_by_content, video_obstacle
from mttsg_core.video.probe import probe
from tests.helpers.video_files import write_audio, write_video

LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
ENCRYPTION = {
    "encryption_scheme": "cenc-aes-ctr",
    "encryption_key": "76a6c65c5ea762046bd749a2e632ccbb",
    "encryption_kid": "a7e61c373e219033c21091fa607bf3b8",
}


def tar(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("a.mp4"), io.BytesIO())


def zip_archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "text")


def numpy_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


FOREIGN: dict[str, tuple[Callable[[Path], object], str]] = {
    "git-lfs": (lambda path: path.write_bytes(LFS_POINTER), "a Git LFS pointer, not a video: run 'git lfs pull'"),
    "annex": (
        lambda path: path.write_text("/annex/objects/MD5E-s7--ff.mp4\n"),
        "a git-annex pointer, not a video: run 'git annex get'",
    ),
    "html": (
        lambda path: path.write_text("\n<!DOCTYPE html>\n<html><title>Not found</title></html>"),
        "an HTML page, not a video: a failed download, probably; download the file again",
    ),
    "server error": (
        lambda path: path.write_text('<?xml version="1.0"?>\n<Error><Code>AccessDenied</Code></Error>'),
        "an error message of a server, not a video: download the file again",
    ),
    "torch": (
        lambda path: torch.save({"clips": torch.zeros(2)}, path),
        "a PyTorch pickle, not a video",
    ),
    "pickle": (
        lambda path: path.write_bytes(pickle.dumps([1])),
        "a Python pickle, not a video",
    ),
    "zip": (zip_archive, "a ZIP archive, not a video: unpack it first"),
    "tar": (tar, "a tar archive, not a video: unpack it first"),
    "gzip": (
        lambda path: path.write_bytes(gzip.compress(b"a" * 999)),
        "a compressed file, not a video: unpack it first",
    ),
    "numpy": (numpy_array, "a NumPy array, not a video"),
    "safetensors": (lambda path: save_file({"clips": np.zeros(3)}, path), "a safetensors file, not a video"),
    "playlist": (
        lambda path: path.write_text("#EXTM3U\n#EXTINF:1,\na.ts\n"),
        "a playlist, not a video: give the video files that it names",
    ),
}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("suffix", [".mp4", ".ts"])
def test_a_foreign_file_is_named_for_what_it_is(name: str, suffix: str, tmp_path: Path) -> None:
    write, reason = FOREIGN[name]
    path = tmp_path / f"a{suffix}"
    write(path)
    with pytest.raises(NotAVideoError) as caught:
        probe(path)
    assert caught.value.reason == reason
    assert video_obstacle(path) == reason


def scramble(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for start in range(0, len(data), 188):
        if data[start + 1] & 0x1F:  # not the tables, which are always in clear
            data[start + 3] |= 0x80
    path.write_bytes(data)


def test_an_encrypted_mp4(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", range(20), container_options=ENCRYPTION)
    with pytest.raises(UnsupportedVideoError) as caught:
        probe(path)
    assert caught.value.reason == "encrypted, so not decodable: use a copy without copy protection"


def test_an_encrypted_mp4_with_its_index_at_the_front(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", range(20), container_options={**ENCRYPTION, "movflags": "+faststart"})
    with pytest.raises(UnsupportedVideoError, match="encrypted"):
        probe(path)


def test_a_scrambled_transport_stream(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.ts", range(20))
    assert len(probe(path).frame_times) == 20
    scramble(path)
    with pytest.raises(UnsupportedVideoError, match="encrypted"):
        probe(path)


def test_an_encrypted_asf(tmp_path: Path) -> None:
    path = tmp_path / "a.wmv"
    path.write_bytes(
        bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
        + bytes(30)
        + bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e")
    )
    with pytest.raises(UnsupportedVideoError, match="encrypted"):
        probe(path)


def test_an_encrypted_webm(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", range(20))
    whole = path.read_bytes()
    end = whole.index(b"V_MPEG4/ISO/AVC")
    encryption = bytes.fromhex("50358847e1810547e780")
    encoding = bytes.fromhex("503181005032810150338101") + encryption
    encodings = (
        bytes.fromhex("6d80")
        + bytes([0x80 + len(encoding) + 3])
        + bytes.fromhex("6240")
        + bytes([0x80 + len(encoding)])
    )
    path.write_bytes(whole[:end] + encodings + encoding + whole[end:])
    with pytest.raises(UnsupportedVideoError, match="encrypted"):
        probe(path)


@pytest.mark.parametrize("beside", [".part", ".crdownload", ".aria2", ".ytdl"])
def test_an_unfinished_download(beside: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", range(20))
    whole = path.read_bytes()
    (tmp_path / f"a.mp4{beside}").touch()
    for content, reason in (
        (whole[:900], "truncated or damaged: its index (moov) is missing"),
        (b"", "empty file"),
        (whole[::-1], "not a video"),
    ):
        path.write_bytes(content)
        with pytest.raises(VideoError) as caught:
            probe(path)
        assert caught.value.reason == f"{reason}; its download is unfinished (a.mp4{beside})"
    path.write_bytes(whole)
    assert len(probe(path).frame_times) == 20


def test_a_download_named_as_unfinished(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4.part"
    path.write_bytes(write_video(tmp_path / "a.mp4", range(20)).read_bytes()[:900])
    with pytest.raises(CorruptVideoError, match=r"is missing; an unfinished download$"):
        probe(path)


def test_a_file_of_which_only_the_beginning_has_arrived(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", range(20))
    whole = path.read_bytes()
    ftyp = int.from_bytes(whole[:4], "big")
    path.write_bytes(whole[:ftyp] + bytes(len(whole) - ftyp))
    with pytest.raises(CorruptVideoError, match=f"only zeros from byte {ftyp} on, as in an unfinished download"):
        probe(path)


VIDEOS: dict[str, dict[str, object]] = {
    "a.ts": {},
    "a.mts": {"container_options": {"mpegts_m2ts_mode": "1"}},
    "a.gif": {"codec": "gif", "pix_fmt": "rgb8"},
    "a.apng": {"codec": "apng", "pix_fmt": "rgb24"},
    "a.avif": {"codec": "libsvtav1", "size": (64, 64)},
    "a.ogg": {"codec": "libtheora"},
    "a.dv": {"codec": "dvvideo", "size": (720, 576)},
    "a.nut": {},
}


@pytest.mark.parametrize("name", VIDEOS)
def test_videos_are_known_by_their_content(name: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / name, range(5), **VIDEOS[name])  # type: ignore[arg-type]
    assert path.suffix in WEAK_SUFFIXES
    assert video_obstacle(path) is None
    assert len(probe(path).frame_times) == 5
    assert is_video_by_content(path.rename(tmp_path / "a.ogg"))


@pytest.mark.parametrize("name", ["a.gif", "a.apng", "a.avif"])
def test_a_single_picture_is_no_video(name: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / name, range(1), **VIDEOS[name])  # type: ignore[arg-type]
    assert video_obstacle(path) == "an image, not a video"


@pytest.mark.parametrize(("frames", "reason"), [(1, "an image, not a video"), (3, "an animated WebP picture")])
def test_a_webp_picture(frames: int, reason: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.webp", range(frames), codec="libwebp_anim")
    assert (video_obstacle(path) or "").startswith(reason)
    with pytest.raises(NotAVideoError, match=reason):
        probe(path)


TYPESCRIPT = "export class Grid<T> extends Graph {\n  /** Größe */\n  private cells: T[][] = [];\n}\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (TYPESCRIPT.encode() * 400, "a text file, not a video"),
        (b"G" * 188 * 9, "a text file, not a video"),
        (b'<?xml version="1.0"?>\n<!DOCTYPE TS>\n<TS version="2.1"></TS>', "a text file, not a video"),
        (b"", "empty file"),
        (b"\xff\xd8\xff\xe0" + bytes(99), "an image, not a video"),
        (bytes(range(256)) * 9, "not a video"),
    ],
)
def test_other_files_with_the_suffix_of_a_video(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "a.ts"
    path.write_bytes(content)
    assert video_obstacle(path) == reason
    assert not is_video_by_content(path)


def ogg_page(payload: bytes, flags: int = 2) -> bytes:
    return b"OggS\0" + bytes([flags]) + bytes(20) + bytes([1, len(payload)]) + payload


@pytest.mark.parametrize("start", [b"\x80theora", b"\x01video\0\0\0", b"BBCD\0"])
def test_video_in_ogg_behind_other_streams(start: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.ogg"
    others = ogg_page(b"fishead\0" + bytes(56)) + ogg_page(b"\x01vorbis" + bytes(23))
    path.write_bytes(others + ogg_page(start + bytes(30)) + ogg_page(bytes(99), flags=0))
    assert is_video_by_content(path)
    path.write_bytes(others + ogg_page(bytes(99), flags=0) + ogg_page(start + bytes(30)))
    assert not is_video_by_content(path)


def test_sound_in_ogg(tmp_path: Path) -> None:
    assert video_obstacle(write_audio(tmp_path / "a.ogg")) == "no video stream"


def test_a_transport_stream_that_begins_within_a_packet(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.ts", range(20))
    path.write_bytes(path.read_bytes()[100:])
    assert is_video_by_content(path)


def test_a_gif_of_which_only_the_beginning_is_stored(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "a.gif", range(3), codec="gif", pix_fmt="rgb8").read_bytes()
    for size in range(6, len(whole), 7):
        (tmp_path / "part.gif").write_bytes(whole[:size])
        video_obstacle(tmp_path / "part.gif")  # raises nothing


def test_a_file_that_cannot_be_read_is_left_to_the_reader(tmp_path: Path) -> None:
    assert is_video_by_content(tmp_path / "missing.ts")
