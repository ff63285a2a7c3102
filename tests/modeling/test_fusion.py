"""Attention of queries to the regions of clips."""

from __future__ import annotations

import math

import pytest
import torch

from mttsg_core.config import NetworkConfig
from mttsg_core.modeling.fusion import RegionCrossAttention
from mttsg_core.modeling.layers import QueryGroups

CONFIG = NetworkConfig(
    clip_dim=1, word_dim=1, regions=3, region_dim=2, width=8, region_width=6, region_heads=2, head_width=4
)


@pytest.mark.parametrize("index", [[0, 0, 1, 1], [1, 0, 1, 1]])
@pytest.mark.parametrize("at_once", [1, 100, 1 << 20])
def test_each_query_attends_to_the_regions_of_its_own_video(
    index: list[int], at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mttsg_core.modeling.fusion._LOGITS_AT_ONCE", at_once)
    attention = RegionCrossAttention(CONFIG).eval()
    regions, sentence = torch.randn(2, 5, 3, 6), torch.randn(4, 8)
    with torch.no_grad():
        attended, evidence = attention(regions, sentence, QueryGroups(torch.tensor(index), 2))
        queries = attention.query(sentence).unflatten(-1, (2, 6)) / math.sqrt(6)  # (N, H, D_o)
        for query, video in enumerate(index):
            logits = torch.einsum("hd,trd->thr", queries[query], regions[video])
            expected = torch.einsum("thr,trd->thd", logits.softmax(-1), regions[video]).flatten(1)
            torch.testing.assert_close(attended[query], expected)
            strength = attention.logsumexp(logits.logsumexp(-1))
            seen = torch.nn.functional.gelu(attention.value(expected) + strength)
            torch.testing.assert_close(evidence[query], seen * (1 + attention.gate(sentence[query])))
