"""Loading of pretrained models with Hugging Face's `transformers`: weights, configuration, image processor, tokenizer.

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
from mttsg_core.errors import ConfigError, error_summary

# What `from_pretrained` raises for damaged, incomplete or unknown models.
_LOAD_ERRORS = (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, ImportError, SafetensorError)


@lru_cache(maxsize=2)
def load_weights(files: PretrainedFiles, device: torch.device) -> Any:
    """Load a model in single precision; once per process and device.

    Raises:
        ConfigError: if the model cannot be loaded, or weights are missing.
    """
    with _load_errors(files), _quiet():
        model, report = transformers.AutoModel.from_pretrained(
            files.folder,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
        )
    # Models that were trained for another task lack the pooler, which is not used here.
    missing = sorted(name for name in report["missing_keys"] if not name.startswith("pooler."))
    if missing:
        raise ConfigError(f"{files.folder}: {len(missing)} weights are missing, such as {missing[0]}")
    return model.to(device).eval()


def load_config(files: PretrainedFiles) -> Any:
    """Load a model's configuration. Raises ConfigError if its kind is unknown."""
    with _load_errors(files), _quiet():
        return transformers.AutoConfig.from_pretrained(files.folder, local_files_only=True, trust_remote_code=False)


def load_image_processor(files: PretrainedFiles) -> Any:
    """Load a model's own image processor. Raises ConfigError if it has none."""
    with _load_errors(files), _quiet():
        return transformers.AutoImageProcessor.from_pretrained(
            files.folder, local_files_only=True, trust_remote_code=False
        )


def load_tokenizer(files: PretrainedFiles) -> Any:
    """Load a model's own tokenizer. Raises ConfigError if it has none."""
    with _load_errors(files), _quiet():
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            files.folder, local_files_only=True, trust_remote_code=False
        )
    # Without these files, some tokenizers load with an empty vocabulary.
    vocabularies = tokenizer.vocab_files_names.values()
    if vocabularies and not any((files.folder / name).is_file() for name in vocabularies):
        raise ConfigError(f"{files.folder}: there is no tokenizer in it ({' or '.join(sorted(vocabularies))})")
    return tokenizer


def model_class(config: Any) -> type:
    """Return the class of models with this configuration; `object` if `transformers` has none for it."""
    kind: Any = transformers.MODEL_MAPPING.get(type(config), object)
    return kind if isinstance(kind, type) else object


@contextmanager
def _load_errors(files: PretrainedFiles) -> Iterator[None]:
    """Turn what `transformers` raises for a bad model into a ConfigError of one line."""
    try:
        yield
    except _LOAD_ERRORS as error:
        raise ConfigError(f"{files.folder}: cannot be loaded ({error_summary(error)})") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep `transformers` from writing to standard error; faults of a model are checked for here."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
