"""Pretrained models of Hugging Face's `transformers`, loaded from a folder: weights, pictures' and texts' preparation.

Only safetensors are loaded, and never code that comes with a model.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from transformers.utils import logging

from mttsg_core.encoders.hf_files import PretrainedFiles
from mttsg_core.errors import ConfigError, brief

# What `from_pretrained` raises on damaged, incomplete or unknown models.
_UNLOADABLE = (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, ImportError, SafetensorError)


@lru_cache(maxsize=2)
def load_weights(files: PretrainedFiles, device: torch.device) -> Any:
    """The model, in single precision; a process loads it once for each device.

    Raises:
        ConfigError: if it cannot be loaded, or lacks weights.
    """
    with _one_line_for(files), _quiet():
        model, report = transformers.AutoModel.from_pretrained(
            files.folder,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
        )
    # Models that were trained for something else lack the pooler, which nothing here looks at.
    missing = sorted(name for name in report["missing_keys"] if not name.startswith("pooler."))
    if missing:
        raise ConfigError(f"{files.folder}: {len(missing)} weights are missing, such as {missing[0]}")
    return model.to(device).eval()


def load_config(files: PretrainedFiles) -> Any:
    """The model's configuration. Raises ConfigError if it is of no known kind."""
    with _one_line_for(files), _quiet():
        return transformers.AutoConfig.from_pretrained(files.folder, local_files_only=True, trust_remote_code=False)


def load_image_processor(files: PretrainedFiles) -> Any:
    """The model's own preparation of pictures. Raises ConfigError if there is none."""
    with _one_line_for(files), _quiet():
        return transformers.AutoImageProcessor.from_pretrained(
            files.folder, local_files_only=True, trust_remote_code=False
        )


def load_tokenizer(files: PretrainedFiles) -> Any:
    """The model's own preparation of sentences. Raises ConfigError if there is none."""
    with _one_line_for(files), _quiet():
        found = transformers.AutoTokenizer.from_pretrained(files.folder, local_files_only=True, trust_remote_code=False)
    # Where these are missing, some tokenizers are made without any words.
    vocabularies = found.vocab_files_names.values()
    if vocabularies and not any((files.folder / name).is_file() for name in vocabularies):
        raise ConfigError(f"{files.folder}: there is no tokenizer in it ({' or '.join(sorted(vocabularies))})")
    return found


def model_class(config: Any) -> type:
    """The class of the model that has this configuration; `object` where `transformers` has no model for it."""
    found: Any = transformers.MODEL_MAPPING.get(type(config), object)
    return found if isinstance(found, type) else object


@contextmanager
def _one_line_for(files: PretrainedFiles) -> Iterator[None]:
    try:
        yield
    except _UNLOADABLE as error:
        raise ConfigError(f"{files.folder}: cannot be loaded ({brief(error)})") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep `transformers` from writing to standard error; what is wrong with a model is checked here."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
