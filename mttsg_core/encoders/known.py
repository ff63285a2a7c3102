"""Short names of pretrained models. This is the only table of them; docs/guide/encoders.md shows it.

Each name stands for one commit on the Hugging Face Hub, so that it always means the same weights, and a model that has
been downloaded is found without a request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class KnownModel:
    """A pretrained model with a short name.

    Attributes:
        repo: its name on the Hugging Face Hub.
        commit: the commit that is used.
        parameters: number of parameters, in millions.
        licence: of the weights.
        kind: `joint` (image and text towers), `vision` (image or video only) or `text`.
    """

    repo: str
    commit: str
    parameters: int
    licence: str
    kind: str

    @property
    def id(self) -> str:
        """The id that fixes its content, as `hf_files.find_files` takes it."""
        return f"{self.repo}@{self.commit}"

    @property
    def megabytes(self) -> int:
        """Approximate size of the download: weights in single precision."""
        return 4 * self.parameters


KNOWN: Mapping[str, KnownModel] = MappingProxyType(
    {
        "clip": KnownModel(
            "laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "1a25a446712ba5ee05982a381eed697ef9b435cf", 151, "MIT", "joint"
        ),
        "clip-l14": KnownModel(
            "openai/clip-vit-large-patch14", "32bd64288804d66eefd0ccbe215aa642df71cc41", 428, "see its page", "joint"
        ),
        "siglip2": KnownModel(
            "google/siglip2-base-patch16-224", "75de2d55ec2d0b4efc50b3e9ad70dba96a7b2fa2", 375, "Apache-2.0", "joint"
        ),
        "dinov2": KnownModel(
            "facebook/dinov2-small", "ed25f3a31f01632728cabb09d1542f84ab7b0056", 22, "Apache-2.0", "vision"
        ),
        "videomae": KnownModel(
            "MCG-NJU/videomae-base", "dc740ceda42fce44faed2ea03c6d447db72f6af9", 94, "see its page", "vision"
        ),
        "minilm": KnownModel(
            "sentence-transformers/all-MiniLM-L6-v2",
            "c9745ed1d9f207416be6d2e6f8de32d1f16199bf",
            23,
            "Apache-2.0",
            "text",
        ),
    }
)

# Models that are asked for by name, and why they cannot be used.
UNUSABLE: Mapping[str, str] = MappingProxyType(
    {
        "mobileclip": "transformers has no class for it, and its original weights are pickled, which are never loaded;"
        " take --encoder clip"
    }
)


def full_name(name: str) -> str:
    """Return the id on the Hugging Face Hub that a short name stands for; any other name unchanged.

    >>> full_name("clip")
    'laion/CLIP-ViT-B-32-laion2B-s34B-b79K@1a25a446712ba5ee05982a381eed697ef9b435cf'
    >>> full_name("someone/clip"), full_name("./clip")
    ('someone/clip', './clip')
    """
    known = KNOWN.get(name)
    return name if known is None else known.id
