"""Whether everything works on this computer: `iter_checks`."""

from __future__ import annotations

import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mttsg_core.errors import MttsgError, error_summary
from mttsg_core.utils.paths import home_relative
from mttsg_core.utils.text import count, format_bytes
from mttsg_core.workflows.options import RuntimeOptions

_PYTHON = (3, 10)
_CODECS = ("h264", "hevc", "vp9", "av1", "mpeg4", "aac")
_SIDE, _RATE, _SECONDS = 64, 10, 2  # of the video that the self-test makes


@dataclass(frozen=True)
class Check:
    """The outcome of one check.

    Attributes:
        name: what was checked.
        status: `ok`; `note` for what limits the program but stops nothing; `failed`.
        text: what was found, in one line.
    """

    name: str
    status: str
    text: str

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return asdict(self)


def iter_checks(options: RuntimeOptions | None = None) -> Iterator[Check]:
    """Yield the outcome of each check as soon as it is known. A check that fails stops no other.

    Args:
        options: device, cache and network access to check.
    """
    options = options or RuntimeOptions()
    checks: dict[str, Callable[[RuntimeOptions], tuple[str, str]]] = {
        "python": _check_python,
        "torch": _check_torch,
        "device": _check_device,
        "ffmpeg": _check_ffmpeg,
        "cache": _check_cache,
        "models": _check_models,
        "hub": _check_hub,
        "self-test": _check_itself,
    }
    for name, check in checks.items():
        try:
            yield Check(name, *check(options))
        except (MttsgError, OSError, ImportError, RuntimeError, ValueError) as error:
            yield Check(name, "failed", error_summary(error))


def _check_python(_: RuntimeOptions) -> tuple[str, str]:
    status = "ok" if sys.version_info >= _PYTHON else "failed"
    return status, f"{platform.python_version()} on {platform.system()} {platform.machine()}"


def _check_torch(_: RuntimeOptions) -> tuple[str, str]:
    import torch
    import transformers

    threads = count(torch.get_num_threads(), "thread")
    return "ok", f"{torch.__version__}, {threads}; transformers {transformers.__version__}"


def _check_device(options: RuntimeOptions) -> tuple[str, str]:
    import torch

    from mttsg_core.utils.devices import choose_device

    device = choose_device(options.device)
    name = f" ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else ""
    return "ok", f"{device}{name}"


def _check_ffmpeg(_: RuntimeOptions) -> tuple[str, str]:
    import av

    missing = [codec for codec in _CODECS if codec not in av.codecs_available]
    version = ".".join(map(str, av.library_versions["libavcodec"]))
    found = f"PyAV {av.__version__}, libavcodec {version}; decoders: "
    found += " ".join(codec for codec in _CODECS if codec not in missing)
    return ("note", f"{found}; missing: {' '.join(missing)}") if missing else ("ok", found)


def _check_cache(options: RuntimeOptions) -> tuple[str, str]:
    from mttsg_core.features.cache_contents import list_cache
    from mttsg_core.utils.writable import check_writable

    cache = options.feature_cache()
    contents = list_cache(cache)
    videos = count(sum(group.videos for group in contents.groups), "video")
    check_writable(cache.folder)
    return "ok", f"{home_relative(cache.folder)}, {videos}, {format_bytes(contents.bytes)}"


def _check_models(_: RuntimeOptions) -> tuple[str, str]:
    from mttsg_core.encoders.known import KNOWN
    from mttsg_core.workflows.setup import fetch, setup_plan

    items = [fetch(what, name, offline=True) for what, name in setup_plan()]
    missing = [item.name for item in items if item.failure is not None]
    others = [
        name
        for name, known in KNOWN.items()
        if name not in {item.name for item in items}
        and fetch("text encoder" if known.kind == "text" else "encoder", name, offline=True).failure is None
    ]
    present = [f"{item.name} ({format_bytes(item.bytes)})" for item in items if item.failure is None] + others
    text = "on this computer: " + (", ".join(present) or "none")
    return ("note", f"{text}; missing: {', '.join(missing)}: run 'mttsg setup'") if missing else ("ok", text)


def _check_hub(options: RuntimeOptions) -> tuple[str, str]:
    from mttsg_core.encoders import DEFAULT_PRETRAINED
    from mttsg_core.encoders.known import KNOWN
    from mttsg_core.utils.hf_hub import hub_offers, is_offline

    if options.offline or is_offline():
        return "note", "not asked: the network is not used"
    if hub_offers(KNOWN[DEFAULT_PRETRAINED].repo):
        return "ok", "the Hugging Face Hub answers"
    return "note", "the Hugging Face Hub cannot be reached: only models on this computer can be used"


def _check_itself(_: RuntimeOptions) -> tuple[str, str]:
    """Make a video, and extract its features with the built-in encoder."""
    from mttsg_core.encoders import DEFAULT_ENCODER, build_encoder
    from mttsg_core.features.extraction import ExtractionSettings, encode_video

    with tempfile.TemporaryDirectory(prefix="mttsg-") as folder:
        video = Path(folder) / "self-test.mp4"
        codec = _write_video(video)
        settings = ExtractionSettings(DEFAULT_ENCODER)
        features = encode_video(video, build_encoder(DEFAULT_ENCODER), settings)
    expected = round(_SECONDS * settings.fps)
    if len(features.clips) != expected or features.lost_clips:
        return "failed", f"{len(features.clips)} clips of a video that has {expected}, {features.lost_clips} lost"
    return "ok", f"{count(expected, 'clip')} of a {_SECONDS}-second video ({codec})"


def _write_video(path: Path) -> str:
    """Write a video of moving stripes, and return the encoder that made it."""
    import av
    import numpy as np

    from mttsg_core.video.mp4_writer import VIDEO_ENCODERS

    name = next(name for name in VIDEO_ENCODERS if name in av.codecs_available)
    columns = np.arange(_SIDE)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(name, rate=_RATE)
        stream.width = stream.height = _SIDE
        stream.pix_fmt = "yuv420p"
        for number in range(_RATE * _SECONDS):
            row = ((columns + 2 * number) * 4 % 256).astype(np.uint8)
            picture = np.broadcast_to(row[None, :, None], (_SIDE, _SIDE, 3))
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return name
