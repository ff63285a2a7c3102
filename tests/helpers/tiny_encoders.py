"""Small pretrained models with random weights, in folders as `save_pretrained` writes them; nothing is downloaded."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.processors import TemplateProcessing
from transformers import (
    AltCLIPConfig,
    AltCLIPModel,
    BertConfig,
    BertModel,
    CLIPConfig,
    CLIPModel,
    Dinov2Config,
    Dinov2Model,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    ResNetConfig,
    ResNetModel,
    Siglip2Config,
    Siglip2Model,
    SiglipConfig,
    SiglipModel,
    VideoMAEConfig,
    VideoMAEModel,
    ViTConfig,
    ViTModel,
    XCLIPConfig,
    XCLIPModel,
)

WORDS = ("the", "a", "red", "blue", "green", "circle", "square", "moves", "grows", "left", "right", "person", "opens")
PAD, BOS, EOS, UNKNOWN = "<pad>", "<s>", "</s>", "<unk>"
SIDE, PATCH, DIM = 32, 8, 16  # side of an image, side of a patch, width of the common space
TEXT_LENGTH = 12

_TOWER: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
_SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_TEXT: dict[str, Any] = {**_TOWER, **_SPECIAL, "vocab_size": len(WORDS) + 4, "max_position_embeddings": TEXT_LENGTH}
_VISION: dict[str, Any] = {**_TOWER, "image_size": SIDE, "patch_size": PATCH}

# Settings of image processors.
CROPPING = {
    "image_processor_type": "CLIPImageProcessor",
    "size": {"shortest_edge": SIDE},
    "crop_size": {"height": SIDE, "width": SIDE},
}
PATCHES = {
    "image_processor_type": "Siglip2ImageProcessor",
    "patch_size": PATCH,
    "max_num_patches": (SIDE // PATCH) ** 2,
}
STRETCHING = {"image_processor_type": "SiglipImageProcessor", "size": {"height": SIDE, "width": SIDE}}


def save_clip(folder: Path, *, seed: int = 0) -> Path:
    """Save a model that resizes the shorter side and crops; causal text with a mask. Each seed gives other weights."""
    config = CLIPConfig(text_config={**_TEXT, "projection_dim": DIM}, vision_config=_VISION, projection_dim=DIM)
    return _save(folder, CLIPModel(config), CROPPING, seed=seed)


def save_siglip(folder: Path) -> Path:
    """Save a model that stretches images; its text is always padded to full length, without a mask."""
    config = SiglipConfig(text_config={**_TEXT, "projection_size": _TOWER["hidden_size"]}, vision_config=_VISION)
    return _save(folder, SiglipModel(config), STRETCHING, model_input_names=["input_ids"])


def save_siglip2(folder: Path) -> Path:
    """Save a model that takes images as patches with a mask ("NaFlex"); text as in SigLIP."""
    vision = {**_TOWER, "patch_size": PATCH, "num_patches": (SIDE // PATCH) ** 2}
    config = Siglip2Config(text_config={**_TEXT, "projection_size": _TOWER["hidden_size"]}, vision_config=vision)
    return _save(folder, Siglip2Model(config), PATCHES, model_input_names=["input_ids"])


def save_altclip(folder: Path) -> Path:
    """Save a model like CLIP, but with a bidirectional text tower."""
    text = {**_TEXT, "project_dim": 24, "max_position_embeddings": TEXT_LENGTH + 2}
    config = AltCLIPConfig(text_config=text, vision_config=_VISION, projection_dim=DIM)
    return _save(folder, AltCLIPModel(config), CROPPING)


def save_xclip(folder: Path) -> Path:
    """Save a model that takes clips of four frames."""
    vision = {**_VISION, "num_frames": 4, "mit_hidden_size": DIM, "mit_intermediate_size": 32}
    vision |= {"mit_num_hidden_layers": 1, "mit_num_attention_heads": 2}
    return _save(folder, XCLIPModel(XCLIPConfig(text_config=_TEXT, vision_config=vision, projection_dim=DIM)), CROPPING)


def save_bert(folder: Path) -> Path:
    """Save a model with a text tower only."""
    return _save(folder, BertModel(BertConfig(**_TEXT)), None)


def save_vit(folder: Path) -> Path:
    """Save a model with an image tower only."""
    return _save(folder, ViTModel(ViTConfig(**_VISION)), CROPPING)


def save_dinov2(folder: Path) -> Path:
    """Save a model with an image tower only, trained without labels."""
    return _save(folder, Dinov2Model(Dinov2Config(**_VISION)), CROPPING)


def save_videomae(folder: Path) -> Path:
    """Save a model of videos of four frames, which sees two of them at a time and has no class token."""
    config = VideoMAEConfig(**_VISION, num_frames=4, tubelet_size=2, use_mean_pooling=False)
    return _save(folder, VideoMAEModel(config), {**CROPPING, "image_processor_type": "VideoMAEImageProcessor"})


def save_resnet(folder: Path) -> Path:
    """Save a convolutional network."""
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    return _save(folder, ResNetModel(config), CROPPING)


def build_tokenizer(**settings: Any) -> PreTrainedTokenizerFast:
    """Build a tokenizer with one token per word, between a first and a last special token."""
    vocabulary = {word: index for index, word in enumerate((PAD, BOS, EOS, UNKNOWN, *WORDS))}
    model = Tokenizer(WordLevel(vocabulary, unk_token=UNKNOWN))
    model.normalizer = Lowercase()
    model.pre_tokenizer = pre_tokenizers.Whitespace()
    model.post_processor = TemplateProcessing(single=f"{BOS} $A {EOS}", special_tokens=[(BOS, 1), (EOS, 2)])
    names = {"pad_token": PAD, "bos_token": BOS, "eos_token": EOS, "unk_token": UNKNOWN}
    return PreTrainedTokenizerFast(tokenizer_object=model, model_max_length=TEXT_LENGTH, **names, **settings)


def _save(
    folder: Path, model: PreTrainedModel, image_processor: dict[str, Any] | None, *, seed: int = 0, **text: Any
) -> Path:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {name}".encode()))
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2 + name.endswith("norm.weight"))
    model.save_pretrained(folder)
    build_tokenizer(**text).save_pretrained(folder)
    if image_processor is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(image_processor))
    return folder
