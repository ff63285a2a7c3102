"""Image preprocessing of pretrained models: resize, crop and normalisation, as their own image processors do it."""

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
from mttsg_core.video.resize import FrameTransform, Scaling

_SCALINGS: dict[int, Scaling] = {1: "lanczos", 2: "bilinear", 3: "bicubic"}  # by Pillow's numbers
_TOLERANCE = 1e-4  # of pixel values, when compared with those of the model's own processor


@dataclass(frozen=True)
class ImagePreprocessing:
    """The preprocessing of a model: the video reader resizes and crops, the device normalises.

    Attributes:
        frame_transform: resize and crop, for the reader.
        scale: factor of each colour channel.
        shift: addend of each colour channel, after scaling.
        patch: side of the patches that the model takes (SigLIP 2 "NaFlex"); None if it takes whole images.
    """

    frame_transform: FrameTransform
    scale: tuple[float, ...]
    shift: tuple[float, ...]
    patch: int | None = None

    @classmethod
    def from_files(cls, files: PretrainedFiles) -> ImagePreprocessing:
        """Read the preprocessing of a model.

        Raises:
            ConfigError: if the model has no image processor, or one whose steps are not supported.
        """
        processor = load_image_processor(files)
        try:
            patch = processor.patch_size if hasattr(processor, "max_num_patches") else None
            preprocessing = cls(_frame_transform(processor), *_normalisation(processor), patch)
            preprocessing._compare_with(processor)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise ConfigError(f"{files.folder}: its image processor is not supported ({error})") from error
        return preprocessing

    @property
    def settings(self) -> Settings:
        """Every setting that affects feature values."""
        return {
            "width": self.frame_transform.size[0],
            "height": self.frame_transform.size[1],
            "shorter_side": self.frame_transform.shorter_side or "any",
            "scaling": self.frame_transform.scaling,
            "scale": " ".join(f"{value:.6g}" for value in self.scale),
            "shift": " ".join(f"{value:.6g}" for value in self.shift),
        }

    def normalise(self, frames: Tensor) -> Tensor:
        """Normalise frames (..., H, W, 3) of 0..255 to pixels (..., 3, H, W), a view of channels-last memory.

        >>> preprocessing = ImagePreprocessing(FrameTransform((4, 2)), scale=(1 / 255,) * 3, shift=(-0.5,) * 3)
        >>> pixels = preprocessing.normalise(torch.full((2, 4, 3), 255, dtype=torch.uint8))
        >>> pixels.shape, pixels.unique()
        (torch.Size([3, 2, 4]), tensor([0.5000]))
        """
        scale, shift = (torch.tensor(values, device=frames.device) for values in (self.scale, self.shift))
        return (frames * scale + shift).movedim(-1, -3)

    def model_inputs(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Return the model's inputs for pixels (N, 3, H, W): the pixels, or patches with their mask and grid size."""
        if self.patch is None:
            return (pixels,)
        count, _, height, width = pixels.shape
        rows, columns = height // self.patch, width // self.patch
        grid = pixels.unflatten(3, (columns, self.patch)).unflatten(2, (rows, self.patch))
        grid = grid.permute(0, 2, 4, 3, 5, 1)  # (N, 3, rows, P, columns, P) to (N, rows, columns, P, P, 3)
        patches = grid.reshape(count, rows * columns, -1)
        mask = torch.ones(patches.shape[:2], dtype=torch.int64, device=pixels.device)
        return patches, mask, torch.tensor([[rows, columns]], device=pixels.device).expand(count, 2)

    def _compare_with(self, processor: Any) -> None:
        """Compare with the processor itself on an image that already has the right size.

        Raises:
            ValueError: if the results differ.
        """
        width, height = self.frame_transform.size
        image = np.random.default_rng(0).integers(0, 256, size=(1, height, width, 3), dtype=np.uint8)
        actual = self.model_inputs(self.normalise(torch.from_numpy(image)))[0].numpy()
        expected = np.asarray(processor(image[0], return_tensors="np")["pixel_values"]).reshape(actual.shape)
        resizes = self.frame_transform.shorter_side not in (None, min(width, height))
        if not resizes and not np.allclose(actual, expected, atol=_TOLERANCE):
            raise ValueError("it does more than resize, crop and normalise")


def _frame_transform(processor: Any) -> FrameTransform:
    """Return the resize and crop that the processor does.

    Raises:
        ValueError: if it does them in an unsupported way.
    """
    if hasattr(processor, "max_num_patches"):  # takes any shape up to that many patches: a square one for all videos
        side = math.isqrt(processor.max_num_patches) * processor.patch_size
        return FrameTransform((side, side), None, _SCALINGS[int(processor.resample)])
    if not processor.do_resize:
        raise ValueError("it accepts images of any size")
    size: Any = processor.size
    crop: Any = processor.crop_size if getattr(processor, "do_center_crop", False) else None
    scaling = _SCALINGS[int(processor.resample)]
    if size.get("shortest_edge"):
        shorter_side = int(size["shortest_edge"])
        return FrameTransform((int(crop["width"]), int(crop["height"])), shorter_side, scaling)
    stretched = (int(size["width"]), int(size["height"]))
    if crop is not None and (crop["width"], crop["height"]) != stretched:
        raise ValueError("it crops a stretched image")
    return FrameTransform(stretched, None, scaling)


def _normalisation(processor: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return scale and shift of each colour channel."""
    factor = float(processor.rescale_factor) if processor.do_rescale else 1.0
    if not processor.do_normalize:
        return (factor,) * 3, (0.0,) * 3
    mean, deviation = (np.broadcast_to(values, 3) for values in (processor.image_mean, processor.image_std))
    return tuple((factor / deviation).tolist()), tuple((-mean / deviation).tolist())
