"""Tone mapping: pictures of PQ and HLG video in the colours of standard video, which encoders were trained on.

The light that a reference display emits is computed from the code values, divided by that of reference white, brought
to the primaries of Rec. 709, compressed where it is brighter than white, and encoded for a Rec. 1886 display. Light up
to nearly white keeps its value, so that a scene looks as in standard video.

Sources: Rec. ITU-R BT.2100-2 (PQ, HLG), Report ITU-R BT.2408-7 (reference white), BT.2087-0 (primaries), BT.1886 (the
display), Reinhard et al., "Photographic tone reproduction for digital images", 2002, equation 4 (highlights).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

PQ, HLG = 16, 18  # FFmpeg's numbers of the transfer characteristics SMPTE ST 2084 and ARIB STD-B67
_BT709, _BT2020, _P3 = 1, 9, 12  # FFmpeg's numbers of primaries
_WHITE = 203.0  # cd/m2 of reference white
_PEAK = 1000.0  # cd/m2 of the brightest highlight that is kept apart; the peak that most HDR video is made for
_KNEE = 0.8  # of white; light below it does not change
_HLG_GAMMA = 1.2  # of the system, for a display with that peak
_LUMINANCE = np.array([0.2627, 0.6780, 0.0593], dtype=np.float32)  # of the primaries of Rec. 2020
_DISPLAY_GAMMA = 2.4
_TO_BT709 = {  # the matrices from other primaries
    _P3: [[1.2249, -0.2249, 0.0], [-0.0420, 1.0420, 0.0], [-0.0196, -0.0786, 1.0982]],
    _BT2020: [[1.6605, -0.5877, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1188]],
}


def is_hdr(transfer: int | None) -> bool:
    """Return whether a transfer characteristic, by FFmpeg's number, is that of high dynamic range."""
    return transfer in (PQ, HLG)


def tone_map(picture: npt.NDArray[Any], transfer: int, primaries: int | None = None) -> npt.NDArray[np.uint8]:
    """Convert a picture of high dynamic range to one of standard range.

    Args:
        picture: (H, W, 3) code values of R'G'B', full range, 16 bits (uint16).
        transfer: `PQ` or `HLG`.
        primaries: FFmpeg's number of the primaries; those of Rec. 2020 if they are neither Rec. 709 nor P3-D65.

    Returns:
        (H, W, 3) R'G'B' of Rec. 709, 8 bits.
    """
    light = np.take(_light_by_code(transfer), picture)  # (H, W, 3)
    if transfer == HLG:
        light *= (light @ _LUMINANCE)[..., None] ** np.float32(_HLG_GAMMA - 1) * np.float32(_PEAK / _WHITE)
    if primaries != _BT709:
        light = light @ np.array(_TO_BT709[_P3 if primaries == _P3 else _BT2020], dtype=np.float32).T
    brightest = np.maximum(np.maximum(light[..., 0], light[..., 1]), light[..., 2])  # much faster than max(axis=-1)
    light *= _compression(brightest)[..., None]
    encoded = np.clip(light, 0, 1) ** np.float32(1 / _DISPLAY_GAMMA)
    return (encoded * 255 + 0.5).astype(np.uint8)


def _compression(brightest: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the factors (H, W) that bring the brightest channel of each pixel to 1 or less, and keep its hue."""
    excess = np.maximum(brightest - _KNEE, 0) / (1 - _KNEE)
    peak = (_PEAK / _WHITE - _KNEE) / (1 - _KNEE)
    compressed = excess * (1 + excess / peak**2) / (1 + excess)
    factors: npt.NDArray[np.float32] = np.minimum(_KNEE + (1 - _KNEE) * compressed, 1) / np.maximum(brightest, _KNEE)
    return np.where(brightest > _KNEE, factors, np.float32(1))


@lru_cache(maxsize=2)
def _light_by_code(transfer: int) -> npt.NDArray[np.float32]:
    """Return the light of each 16-bit code: for PQ on the display, 1 is white; for HLG in the scene, 1 is the peak."""
    code = np.arange(65536) / 65535
    if transfer == PQ:
        m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
        root = code ** (1 / m2)
        light = 10_000 / _WHITE * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)
    else:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        light = np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)
    return light.astype(np.float32)
