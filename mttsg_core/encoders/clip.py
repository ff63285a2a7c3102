"""Pretrained models with an image and a text tower as video encoders: CLIP, SigLIP, AltCLIP, X-CLIP and similar.

Models are recognised by their methods: `get_text_features`, and either `get_image_features` for single frames or
`get_video_features` for clips of several.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from mttsg_core.encoders.base import Array, Precision, Settings
from mttsg_core.encoders.hf_files import PretrainedFiles
from mttsg_core.encoders.hf_loading import load_config, model_class
from mttsg_core.encoders.text_tower import TextTower
from mttsg_core.encoders.vision import Tokens, VisionEncoder
from mttsg_core.errors import ConfigError


class PretrainedVideoEncoder(VisionEncoder):
    """An encoder of clips into the space that a pretrained model shares between images or videos and text.

    A clip vector is the model's embedding of the clip's frame, the mean over its frames if there are several, or the
    model's video embedding. Regions are the vision tower's last patch tokens, averaged on a grid. Weights are loaded
    when they are first needed.

    Args:
        files: the model's files.
        device: where it runs.
        precision: see `precision`.

    Raises:
        ConfigError: if the model lacks a tower, or its image preprocessing is not supported.
    """

    def _check_kind(self, kind: Any, vision: Any) -> bool:
        takes_videos = hasattr(kind, "get_video_features")
        if not hasattr(kind, "get_text_features") or not (takes_videos or hasattr(kind, "get_image_features")):
            raise ConfigError(
                f"{self.files.folder}: {kind.__name__} does not have an image and a text tower, as CLIP and SigLIP do"
            )
        return takes_videos

    @property
    def settings(self) -> Settings:
        """Id and preprocessing; the version increases whenever the same frames would give other values."""
        return self._common_settings

    @cached_property
    def text_tower(self) -> TextTower:
        """The model's text tower."""
        return TextTower(self.files, self.device)

    def embed_queries(self, queries: Sequence[str]) -> Array:
        """Embed N sentences as (N, D). See `JointEncoder.embed_queries`."""
        return self.text_tower.embed_sentences(queries)

    def _tokens(self, model: Any, pixels: Tensor) -> Tokens:
        output = (
            model.get_video_features(pixels)
            if self._takes_videos
            else model.get_image_features(*self._preprocessing.model_inputs(pixels.flatten(0, 1)))
        )
        return Tokens(output.pooler_output, output.last_hidden_state)


def build_pretrained(files: PretrainedFiles, device: torch.device, precision: Precision) -> VisionEncoder:
    """Build the video encoder of a pretrained model, with its text tower if it has one.

    Raises:
        ConfigError: if the model takes no images, or its image preprocessing is not supported.
    """
    kind = PretrainedVideoEncoder if hasattr(model_class(load_config(files)), "get_text_features") else VisionEncoder
    return kind(files, device, precision)
