"""How a pretrained model wants its pictures, read from the settings of its own image processor."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mttsg_core.encoders.base import Settings
from mttsg_core.encoders.hf_files import PretrainedFiles
from mttsg_core.encoders.hf_loading import load_image_processor
from mttsg_core.errors import ConfigError
from mttsg_core.video.resize import Framing, Scaling

_SCALINGS: dict[int, Scaling] = {1: "lanczos", 2: "bilinear", 3: "bicubic"}  # by Pillow's numbers
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class PicturePreparation:
    """Scaled and cut by the video reader, normalised on the device.

    Attributes:
        framing: for the reader.
        scale: factor for each colour.
        shift: what is then added.
        patch: side of the patches into which the model wants pictures cut (SigLIP 2 "NaFlex"); None for whole ones.
    """

    framing: Framing
    scale: tuple[float, ...]
    shift: tuple[float, ...]
    patch: int | None = None

    @classmethod
    def of(cls, files: PretrainedFiles) -> PicturePreparation:
        """Of a model.

        Raises:
            ConfigError: if it has no image processor, or one that does something that is not known here.
        """
        processor = load_image_processor(files)
        try:
            patch = processor.patch_size if hasattr(processor, "max_num_patches") else None
            made = cls(_framing(processor), *_normalisation(processor), patch)
            made._check(processor)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise ConfigError(
                f"{files.folder}: the settings of its image processor are not known here ({error})"
            ) from error
        return made

    @property
    def settings(self) -> Settings:
        """What shapes a feature."""
        return {
            "width": self.framing.size[0],
            "height": self.framing.size[1],
            "shorter_side": self.framing.shorter_side or "any",
            "scaling": self.framing.scaling,
            "scale": " ".join(f"{value:.6g}" for value in self.scale),
            "shift": " ".join(f"{value:.6g}" for value in self.shift),
        }

    def normalise(self, frames: Tensor) -> Tensor:
        """Frames (..., H, W, 3) of 0..255 to pixels (..., 3, H, W), a view of channels-last memory."""
        scale, shift = (torch.tensor(values, device=frames.device) for values in (self.scale, self.shift))
        return (frames * scale + shift).movedim(-1, -3)

    def inputs(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Pixels (N, 3, H, W) to what the model takes: them, or patches, which of these are real, and their grid."""
        if self.patch is None:
            return (pixels,)
        count, _, height, width = pixels.shape
        rows, columns = height // self.patch, width // self.patch
        grid = pixels.unflatten(3, (columns, self.patch)).unflatten(
            2, (rows, self.patch)
        )  # (N, 3, rows, P, columns, P)
        patches = grid.permute(0, 2, 4, 3, 5, 1).reshape(count, rows * columns, -1)
        real = torch.ones(patches.shape[:2], dtype=torch.int64, device=pixels.device)
        return patches, real, torch.tensor([[rows, columns]], device=pixels.device).expand(count, 2)

    def _check(self, processor: Any) -> None:
        """Compare with the processor itself on a picture that has the right size already.

        Raises:
            ValueError: if they differ.
        """
        width, height = self.framing.size
        picture = np.random.default_rng(0).integers(0, 256, size=(1, height, width, 3), dtype=np.uint8)
        ours = self.inputs(self.normalise(torch.from_numpy(picture)))[0].numpy()
        theirs = np.asarray(processor(picture[0], return_tensors="np")["pixel_values"]).reshape(ours.shape)
        same_size = self.framing.shorter_side in (None, min(width, height))  # else theirs scales it
        if same_size and not np.allclose(ours, theirs, atol=_TOLERANCE):
            raise ValueError("it does more than to scale, cut and normalise")


def _framing(processor: Any) -> Framing:
    """Scaling and cutting as the processor does them."""
    if hasattr(processor, "max_num_patches"):  # any shape of so many patches: a square one, for all
        side = math.isqrt(processor.max_num_patches) * processor.patch_size
        return Framing((side, side), None, _SCALINGS[int(processor.resample)])
    if not processor.do_resize:
        raise ValueError("it takes pictures of any size")
    size: Any = processor.size
    crop: Any = processor.crop_size if getattr(processor, "do_center_crop", False) else None
    scaling = _SCALINGS[int(processor.resample)]
    if size.get("shortest_edge"):
        shorter = int(size["shortest_edge"])
        return Framing((int(crop["width"]), int(crop["height"])), shorter, scaling)
    stretched = (int(size["width"]), int(size["height"]))
    if crop is not None and (crop["width"], crop["height"]) != stretched:
        raise ValueError("it cuts the middle out of a stretched picture")
    return Framing(stretched, None, scaling)


def _normalisation(processor: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Factor and addition for each colour."""
    factor = float(processor.rescale_factor) if processor.do_rescale else 1.0
    if not processor.do_normalize:
        return (factor,) * 3, (0.0,) * 3
    mean, deviation = (np.broadcast_to(values, 3) for values in (processor.image_mean, processor.image_std))
    return tuple((factor / deviation).tolist()), tuple((-mean / deviation).tolist())
