"""Which features are extracted, and the fingerprint that records it."""

from __future__ import annotations

from dataclasses import dataclass

from mttsg_core.encoders import Encoder, build_encoder
from mttsg_core.encoders.base import DEFAULT_PRECISION, Settings
from mttsg_core.errors import FeatureError
from mttsg_core.features.frame_stream import FrameSpec


@dataclass(frozen=True)
class ExtractionSettings:
    """Which features are extracted.

    Attributes:
        encoder: id of the video encoder.
        fps: clips per second. Clips are equal bins, so a video's true rate can differ by less than one clip.
        reader: back end of the video reader: `auto`, `pyav` or `decord`.
        device: where a pretrained encoder runs; does not affect feature values.
        offline: whether a pretrained encoder must already be on this computer; does not affect feature values.
        precision: that a pretrained encoder computes in, see `encoders.build_encoder`. It affects feature values by so
            little that they count as the same.
    """

    encoder: str = "classic"
    fps: float = 2.0
    reader: str = "auto"
    device: str = "cpu"
    offline: bool = False
    precision: str = DEFAULT_PRECISION

    def build_encoder(self) -> Encoder:
        """Build the encoder.

        Raises:
            ConfigError: if the encoder, the device or the precision does not exist.
        """
        return build_encoder(self.encoder, device=self.device, offline=self.offline, precision=self.precision)

    def fingerprint(self, encoder: Encoder | None = None) -> Settings:
        """Return every setting that affects feature values.

        >>> ExtractionSettings(fps=1.5).fingerprint()
        {'encoder': 'classic', 'version': 2, 'fps': 1.5, 'reader': 'auto'}

        Args:
            encoder: the result of `build_encoder`, if it exists already.

        Raises:
            ConfigError: if the encoder, the device or the precision does not exist.
        """
        encoder = encoder or self.build_encoder()
        return {**encoder.settings, "fps": self.fps, "reader": self.reader}

    def frame_spec(self, encoder: Encoder, threads: int | None = None) -> FrameSpec:
        """Return which frames the encoder needs, read with the given number of decoder threads."""
        return FrameSpec(
            fps=self.fps,
            frames_per_clip=encoder.frames_per_clip,
            frame_transform=encoder.frame_transform,
            reader=self.reader,
            clip_batch_size=encoder.clip_batch_size,
            threads=threads,
        )

    @classmethod
    def from_fingerprint(
        cls,
        fingerprint: Settings,
        *,
        device: str = "cpu",
        offline: bool = False,
        precision: str = DEFAULT_PRECISION,
    ) -> ExtractionSettings:
        """Return the settings that lead to a fingerprint.

        Raises:
            FeatureError: if such features cannot be extracted, because they are external.
        """
        if not {"fps", "reader"} <= fingerprint.keys():
            raise FeatureError(f"this version cannot extract features with encoder {fingerprint.get('encoder')!r}")
        encoder, fps, reader = str(fingerprint["encoder"]), float(fingerprint["fps"]), str(fingerprint["reader"])
        return cls(encoder, fps, reader, device, offline, precision)
