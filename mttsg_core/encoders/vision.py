"""Pretrained models of images or videos as video encoders: DINOv2, ViT, VideoMAE and similar, and the base of CLIP's.

Such a model has no text tower: its features are for training, with any text encoder.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, cosine_similarity

from mttsg_core.encoders.base import DEFAULT_PRECISION, VISION_ONLY, Array, ClipFeatures, Precision, Settings
from mttsg_core.encoders.hf_files import PretrainedFiles
from mttsg_core.encoders.hf_loading import load_config, load_weights, model_class
from mttsg_core.encoders.image_preprocessing import ImagePreprocessing
from mttsg_core.encoders.precision import half_type, stand_ins
from mttsg_core.errors import ConfigError, is_out_of_memory
from mttsg_core.utils.devices import all_threads

_GRID = 4  # regions per side, at most: three hours at two clips per second then take half a gigabyte
_LEAST_COSINE = 0.99  # between the features in half and in single precision, for `auto` on a CPU
_FRAMES_PER_BATCH = {"cpu": 16, "mps": 64, "cuda": 256}  # at first; halved when memory runs out

_log = logging.getLogger("mttsg")


class Tokens(NamedTuple):
    """What a model says about N frames, or N clips of several frames.

    Attributes:
        pooled: (N, D) one vector each.
        tokens: (N, K, D_t) vectors of patches, after those of special tokens if there are any; None without patches.
    """

    pooled: Tensor
    tokens: Tensor | None


class VisionEncoder:
    """An encoder of clips that takes the vectors of a pretrained model of images or videos.

    A clip vector is the model's class token, or the mean of its patch tokens if it has none: of the clip's frame, the
    mean over its frames if there are several, or of the clip if the model takes videos. Regions are the last patch
    tokens, averaged on a grid, and over time in models of videos. Weights are loaded when they are first needed.

    Args:
        files: the model's files.
        device: where it runs.
        precision: see `precision`.

    Raises:
        ConfigError: if the model takes no images, or its image preprocessing is not supported.
    """

    runs_in_workers = False

    def __init__(self, files: PretrainedFiles, device: torch.device, precision: Precision = DEFAULT_PRECISION) -> None:
        self.files, self.device = files, device
        self._half = half_type(precision, device)
        self._exact = precision == "float32" or device.type != "cpu"  # a GPU encodes faster than frames are compared
        self._half_is_checked = device.type != "cpu" or precision != "auto"
        config = load_config(files)
        vision = getattr(config, "vision_config", config)
        kind = model_class(config)
        self._takes_videos = self._check_kind(kind, vision)
        frames = getattr(vision, "num_frames", None) if self._takes_videos else 1
        if frames is None:
            raise ConfigError(f"{files.folder}: the configuration of {kind.__name__} lacks num_frames")
        self.frames_per_clip: int = frames
        self._tubes: int = max(1, frames // (getattr(vision, "tubelet_size", None) or frames))
        self._preprocessing = ImagePreprocessing.from_files(files)
        self._patch = vision.patch_size if isinstance(getattr(vision, "patch_size", None), int) else None
        self.clip_batch_size = max(1, _FRAMES_PER_BATCH.get(device.type, 32) // self.frames_per_clip)
        self.frame_transform = self._preprocessing.frame_transform

    def _check_kind(self, kind: Any, vision: Any) -> bool:
        """Return whether the models of a class take videos, not images. Raises ConfigError if they take neither."""
        if getattr(kind, "main_input_name", "") != "pixel_values":
            raise ConfigError(f"{self.files.folder}: {kind.__name__} takes no images, so it cannot encode videos")
        return hasattr(vision, "num_frames")

    @property
    def settings(self) -> Settings:
        """Id and preprocessing; the version increases whenever the same frames would give other values."""
        return {**self._common_settings, VISION_ONLY: 1}

    @property
    def _common_settings(self) -> Settings:
        return {
            "encoder": self.files.id,
            "version": 1,
            "frames": self.frames_per_clip,
            "grid": _GRID,
            **self._preprocessing.settings,
        }

    def encode(self, frames: npt.NDArray[np.uint8]) -> ClipFeatures:
        """Encode frames (B, F, H, W, 3) into clips (B, D) and regions (B, R, D_r), R <= 16. See `Encoder.encode`.

        Raises:
            MemoryError: if memory does not suffice for a single clip.
            ConfigError: if the weights cannot be loaded.
        """
        encoded, rows = np.unique(stand_ins(frames, exact=self._exact), return_inverse=True)
        batches = list(self._encode_batches(torch.from_numpy(frames[encoded])))
        clips = np.concatenate([clips for clips, _ in batches])  # (E, D) of the encoded ones
        regions = [regions for _, regions in batches if regions is not None]
        return ClipFeatures(clips[rows], np.concatenate(regions)[rows] if regions else None)

    def _encode_batches(self, frames: Tensor) -> Iterator[tuple[Array, Array | None]]:
        """Encode as many clips at a time as memory allows."""
        first = 0
        while first < len(frames):
            batch = frames[first : first + self.clip_batch_size]
            try:
                features = self._forward(batch)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                features = None  # retried outside of this block, because the error keeps its tensors alive
            if features is not None:
                yield features
                first += len(batch)
            elif len(batch) == 1:
                raise MemoryError
            else:
                self.clip_batch_size = len(batch) // 2
                _log.info("not enough memory for %d clips at a time; trying %d", len(batch), self.clip_batch_size)
                if self.device.type == "cuda":
                    torch.cuda.empty_cache()

    @torch.inference_mode()
    def _forward(self, frames: Tensor) -> tuple[Array, Array | None]:
        """Encode frames (B, F, H, W, 3) into clips (B, D) and regions (B, R, D_r)."""
        model = load_weights(self.files, self.device)
        on_gpu = self.device.type == "cuda"
        frames = (frames.pin_memory() if on_gpu else frames).to(self.device, non_blocking=True)
        pixels = self._preprocessing.normalise(frames)  # (B, F, 3, H, W), still channels-last in memory
        with all_threads():
            if self._half is not None and not self._half_is_checked:
                self._check_half(model, pixels[[0, -1]])
            output = self._run(model, pixels, self._half)
        count = len(frames)
        pooled = output.pooled.float()  # (B, D) of videos, (B * F, D) of images
        clips = pooled.reshape(count, -1, pooled.shape[-1]).mean(dim=1)  # (B, D)
        regions = self._pool_patches(output.tokens)
        if regions is not None:
            regions = regions.reshape(count, -1, *regions.shape[1:]).mean(dim=1)  # (B, R, D_r)
        return clips.cpu().numpy(), None if regions is None else regions.cpu().numpy()

    def _check_half(self, model: Any, pixels: Tensor) -> None:
        """Go back to single precision, with a warning, if half precision changes features of pixels (B, F, 3, H, W)."""
        half, single = (self._run(model, pixels, dtype).pooled.float() for dtype in (self._half, None))
        least = float(cosine_similarity(half, single).min())
        if not least >= _LEAST_COSINE:  # or not a number
            _log.warning(
                "%s: half precision changes its features (cosine %.3f), so single precision is used",
                self.files.id,
                least,
            )
            self._half = None
        self._half_is_checked = True

    def _run(self, model: Any, pixels: Tensor, half: torch.dtype | None) -> Tokens:
        """Return what the model says about pixels (B, F, 3, H, W), computing in half precision unless that is None."""
        with torch.autocast(self.device.type, half, enabled=half is not None):
            return self._tokens(model, pixels)

    def _tokens(self, model: Any, pixels: Tensor) -> Tokens:
        """Return what the model says about pixels (B, F, 3, H, W)."""
        inputs = pixels if self._takes_videos else pixels.flatten(0, 1)
        hidden: Tensor = model(pixel_values=inputs).last_hidden_state
        if hidden.ndim == 4:  # a convolutional network: (N, D, rows, columns)
            return Tokens(hidden.mean(dim=(2, 3)), None)
        patches = self._patch_count
        if patches is None or hidden.shape[1] < patches * self._tubes:
            return Tokens(hidden.mean(dim=1), None)
        tokens = hidden[:, -patches * self._tubes :]
        pooled = hidden[:, 0] if hidden.shape[1] > tokens.shape[1] else hidden.mean(dim=1)
        return Tokens(pooled, tokens.unflatten(1, (self._tubes, patches)).mean(dim=1))

    @property
    def _patch_count(self) -> int | None:
        """Number of patches of a frame; None if the model does not divide frames into square patches."""
        width, height = self.frame_transform.size
        return None if self._patch is None else (width // self._patch) * (height // self._patch)

    def _pool_patches(self, tokens: Tensor | None) -> Tensor | None:
        """Average tokens (N, K, D) of N frames, patches last, to (N, R, D); None if they are not a grid of patches."""
        width, height = self.frame_transform.size
        if tokens is None or tokens.ndim != 3 or self._patch is None:
            return None
        rows, columns = height // self._patch, width // self._patch
        if tokens.shape[1] < rows * columns:
            return None
        grid = tokens[:, -rows * columns :].float().mT.unflatten(2, (rows, columns))  # (N, D, rows, columns)
        if grid.device.type == "mps":  # MPS supports only output sizes that divide the input size
            grid = grid.cpu()
        return adaptive_avg_pool2d(grid, (min(rows, _GRID), min(columns, _GRID))).flatten(2).mT  # (N, R, D)
