"""Pretrained models with an image and a text tower as video encoders: CLIP, SigLIP, AltCLIP, X-CLIP and their like.

A model is known by what it can do: `get_text_features`, and `get_image_features` for single pictures or
`get_video_features` for clips of several.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from mttsg_core.encoders.base import Array, ClipFeatures, Settings
from mttsg_core.encoders.hf_files import PretrainedFiles
from mttsg_core.encoders.hf_loading import load_config, load_weights, model_class
from mttsg_core.encoders.image_preprocessing import PicturePreparation
from mttsg_core.encoders.text_tower import SentenceTower
from mttsg_core.errors import ConfigError, memory_ran_out
from mttsg_core.utils.devices import all_threads, half_precision

_GRID = 4  # regions a side, at most: three hours at two clips a second then take half a gigabyte
_FRAMES_AT_ONCE = {"cpu": 16, "mps": 64, "cuda": 256}  # at first; halved when memory runs out


class PretrainedEncoder:
    """Clips to the image embedding (of several frames: their mean) or video embedding in the model's common space.

    Regions are the vision tower's last patch tokens, averaged on a grid. The weights are loaded when first needed.

    Args:
        files: of the model.
        device: where it runs.

    Raises:
        ConfigError: if the model lacks a tower, or its pictures are prepared in a way that is not known here.
    """

    in_every_worker = False

    def __init__(self, files: PretrainedFiles, device: torch.device) -> None:
        self.files, self.device = files, device
        config = load_config(files)
        vision = getattr(config, "vision_config", config)
        kind = model_class(config)
        self._takes_videos = hasattr(kind, "get_video_features")
        if not hasattr(kind, "get_text_features") or not (self._takes_videos or hasattr(kind, "get_image_features")):
            raise ConfigError(
                f"{files.folder}: {kind.__name__} does not have an image and a text tower, as CLIP and SigLIP have"
            )
        frames = getattr(vision, "num_frames", None) if self._takes_videos else 1
        if frames is None:
            raise ConfigError(f"{files.folder}: {kind.__name__} does not say how many frames a clip has")
        self.frames_per_clip: int = frames
        self._pictures = PicturePreparation.of(files)
        self._patch = vision.patch_size if isinstance(getattr(vision, "patch_size", None), int) else None
        self.clips_at_once = max(1, _FRAMES_AT_ONCE.get(device.type, 32) // self.frames_per_clip)
        self.framing = self._pictures.framing

    @property
    def settings(self) -> Settings:
        """Id and how pictures are prepared; the version is raised whenever the same frames would give other values."""
        return {
            "encoder": self.files.id,
            "version": 1,
            "frames": self.frames_per_clip,
            "grid": _GRID,
            **self._pictures.settings,
        }

    @cached_property
    def text(self) -> SentenceTower:
        """The text tower."""
        return SentenceTower(self.files, self.device)

    def embed_queries(self, queries: Sequence[str]) -> Array:
        """See `JointEncoder.embed_queries`."""
        return self.text.sentences(queries)

    def encode(self, frames: npt.NDArray[np.uint8]) -> ClipFeatures:
        """See `Encoder.encode`. Regions (B, R, D_r) have R <= 16.

        Raises:
            MemoryError: if there is not even memory for a single clip.
            ConfigError: if the weights cannot be loaded.
        """
        parts = list(self._in_batches(torch.from_numpy(frames)))
        regions = [part for _, part in parts if part is not None]
        return ClipFeatures(np.concatenate([clips for clips, _ in parts]), np.concatenate(regions) if regions else None)

    def _in_batches(self, frames: Tensor) -> Iterator[tuple[Array, Array | None]]:
        """Batches of as many clips as there is memory for."""
        first = 0
        while first < len(frames):
            part = frames[first : first + self.clips_at_once]
            try:
                features = self._forward(part)
            except (RuntimeError, MemoryError) as error:
                if not memory_ran_out(error):
                    raise
                features = None  # the next try comes after the error, which holds the tensors of this one
            if features is not None:
                yield features
                first += len(part)
            elif len(part) == 1:
                raise MemoryError
            else:
                self.clips_at_once = len(part) // 2
                if self.device.type == "cuda":
                    torch.cuda.empty_cache()

    @torch.inference_mode()
    def _forward(self, frames: Tensor) -> tuple[Array, Array | None]:
        """Frames (B, F, H, W, 3) to clips (B, D) and regions (B, R, D_r)."""
        model = load_weights(self.files, self.device)
        on_gpu = self.device.type == "cuda"
        frames = (frames.pin_memory() if on_gpu else frames).to(self.device, non_blocking=True)
        pixels = self._pictures.normalise(frames)  # (B, F, 3, H, W), in memory still channels last
        with all_threads(), torch.autocast(self.device.type, half_precision(self.device), enabled=on_gpu):
            output = (
                model.get_video_features(pixels)
                if self._takes_videos
                else model.get_image_features(*self._pictures.inputs(pixels.flatten(0, 1)))
            )
        count = len(frames)
        clips = output.pooler_output.float().reshape(count, -1, output.pooler_output.shape[-1]).mean(dim=1)
        regions = self._pool(output.last_hidden_state)
        if regions is not None:
            regions = regions.reshape(count, -1, *regions.shape[1:]).mean(dim=1)
        return clips.cpu().numpy(), None if regions is None else regions.cpu().numpy()

    def _pool(self, tokens: Tensor | None) -> Tensor | None:
        """Tokens (N, K, D) of N pictures, patches last, to (N, R, D); None if they are no grid of patches."""
        width, height = self.framing.size
        if tokens is None or tokens.ndim != 3 or self._patch is None:
            return None
        rows, columns = height // self._patch, width // self._patch
        if tokens.shape[1] < rows * columns:
            return None
        grid = tokens[:, -rows * columns :].float().mT.unflatten(2, (rows, columns))  # (N, D, rows, columns)
        if grid.device.type == "mps":  # knows pooling of sizes that divide only
            grid = grid.cpu()
        return adaptive_avg_pool2d(grid, (min(rows, _GRID), min(columns, _GRID))).flatten(2).mT
