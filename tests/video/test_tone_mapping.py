"""Tone mapping: codes of PQ and HLG with known light, and one scene as standard and as high dynamic range."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

from mttsg_core.video.probe import probe
from mttsg_core.video.sampling import sample
from mttsg_core.video.tone_mapping import HLG, PQ, is_hdr, tone_map

CASE = Path(__file__).parents[3] / "shared" / "cases" / "hdr"
BT709, BT2020, P3 = 1, 9, 12
WHITE = 203  # cd/m2


def pq_code(light: npt.ArrayLike) -> npt.NDArray[np.uint16]:
    """Return the 16-bit PQ codes of light in cd/m2: the inverse EOTF of BT.2100, table 4."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    power = (np.asarray(light, dtype=np.float64) / 10_000) ** m1
    return np.round(65535 * ((c1 + c2 * power) / (1 + c3 * power)) ** m2).astype(np.uint16)


def hlg_code(light: npt.ArrayLike) -> npt.NDArray[np.uint16]:
    """Return the 16-bit HLG codes of neutral light in cd/m2: the inverse OOTF and the OETF of BT.2100, table 5."""
    scene = (np.asarray(light, dtype=np.float64) / 1000) ** (1 / 1.2)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    curved = a * np.log(np.maximum(12 * scene - b, 1e-9)) + c
    return np.round(65535 * np.where(scene <= 1 / 12, np.sqrt(3 * scene), curved)).astype(np.uint16)


CODES = {PQ: pq_code, HLG: hlg_code}


def grey(codes: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
    return np.repeat(codes.reshape(1, -1, 1), 3, axis=2)


@pytest.mark.parametrize("transfer", CODES)
def test_light_below_white_looks_as_on_a_standard_display(transfer: int) -> None:
    values = np.arange(0, 229)  # up to the knee, 0.8 of white
    picture = tone_map(grey(CODES[transfer](WHITE * (values / 255) ** 2.4)), transfer, BT2020)
    assert np.abs(picture[0, :, 0] - values).max() <= 1
    assert (picture == picture[..., :1]).all()


@pytest.mark.parametrize("transfer", CODES)
def test_highlights_are_told_apart_up_to_the_peak(transfer: int) -> None:
    light = np.array([0.8 * WHITE, WHITE, 300, 500, 1000])
    picture = tone_map(grey(CODES[transfer](light)), transfer, BT2020)[0, :, 0].tolist()
    assert picture == sorted(set(picture))
    assert 240 <= picture[1] <= 250
    assert picture[-1] == 255


def test_light_beyond_the_peak_is_white() -> None:
    assert (tone_map(grey(pq_code([1000, 4000, 10_000])), PQ) == 255).all()


@pytest.mark.parametrize(("primaries", "to_xyz"), [(BT2020, "bt2020"), (P3, "p3"), (BT709, "bt709")])
def test_colours_keep_their_look_in_narrower_primaries(primaries: int, to_xyz: str) -> None:
    matrices = {  # of the RGB of each primaries to XYZ, with D65
        "bt709": [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]],
        "bt2020": [[0.6370, 0.1446, 0.1689], [0.2627, 0.6780, 0.0593], [0.0, 0.0281, 1.0610]],
        "p3": [[0.4866, 0.2657, 0.1982], [0.2290, 0.6917, 0.0793], [0.0, 0.0451, 1.0439]],
    }
    wanted = np.array([[200, 40, 60], [50, 180, 40], [30, 60, 200], [180, 180, 20], [128, 128, 128]])
    light = WHITE * (wanted / 255) ** 2.4 @ (np.linalg.inv(matrices[to_xyz]) @ matrices["bt709"]).T
    picture = tone_map(pq_code(np.maximum(light, 0))[None], PQ, primaries)
    assert np.abs(picture[0].astype(int) - wanted).max() <= 2


def test_a_bright_colour_keeps_its_hue() -> None:
    light = np.array([900.0, 300.0, 90.0])
    red, green, blue = (tone_map(pq_code(light)[None, None], PQ, BT709)[0, 0] / 255.0) ** 2.4
    assert red / green == pytest.approx(3, rel=0.02)
    assert red / blue == pytest.approx(10, rel=0.05)


def test_only_pq_and_hlg_are_high_dynamic_range() -> None:
    assert [transfer for transfer in [None, *range(20)] if is_hdr(transfer)] == [16, 18]


@pytest.mark.data
@pytest.mark.skipif(not CASE.is_dir(), reason=f"{CASE} does not exist")
def test_one_scene_in_both_ranges_looks_alike() -> None:
    frames = {}
    for name in ("sdr", "pq"):
        info = probe(CASE / f"{name}.mp4")
        frames[name] = np.concatenate([chunk.frames for chunk in sample(info, np.arange(0.1, 4, 0.3))]).astype(int)
    with av.open(str(CASE / "pq.mp4")) as container:
        untouched = next(container.decode(video=0)).to_ndarray(format="rgb24").astype(int)
    standard, mapped = frames["sdr"], frames["pq"]
    assert np.abs(mapped.mean((0, 1, 2)) - standard.mean((0, 1, 2))).max() < 12
    assert np.abs(mapped - standard).mean() < 0.5 * np.abs(untouched - standard[0]).mean()
