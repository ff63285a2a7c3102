"""Predictions and losses of networks with fixed weights on a fixed input: a refactoring that changes them is noticed.

The weights depend on the parameters' names in format 5 and on their shapes. Where a change of the numbers is intended,
insert those that this prints:

    python -m tests.modeling.test_golden
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch

from mttsg_core.config import LossConfig
from mttsg_core.modeling.grounding_head import decode
from mttsg_core.training.losses import MKTNCriterion
from tests.helpers.tiny import NO_DROPOUT, ONLY_THE_HEAD, batch, network, targets

SHAPE = ((14, 2), (6, 1), (1, 1))

Answers = list[list[list[float]]]
"""Start and end in clips, and score, of the two best answers to each of the four queries."""


@dataclass(frozen=True)
class Golden:
    """Numbers of one network.

    Attributes:
        settings: of the network.
        answers: see `Answers`.
        losses: terms, statistics and total of a training step without dropout.
    """

    settings: dict[str, Any]
    answers: Answers
    losses: dict[str, float]


HEAD = Golden(
    settings=ONLY_THE_HEAD,
    answers=[
        [[0.0, 7.82323, 0.63132], [1.39458, 13.90954, 0.02356]],
        [[0.0, 7.48229, 0.5736], [1.48574, 12.137, 0.03603]],
        [[2.8404, 6.0, 0.90427], [0.0, 4.76053, 0.32696]],
        [[0.0, 1.0, 0.99074], [0.0, 1.0, 0.0]],
    ],
    losses={"proposal": 4.50198, "boundary": 3.68038, "foreground": 1.13841, "offset": 3.63548},
)
WHOLE = Golden(
    settings={},
    answers=[
        [[0.85868, 7.86885, 0.97102], [2.57541, 11.93812, 0.69771]],
        [[10.08398, 14.0, 0.6807], [1.76957, 6.51682, 0.19768]],
        [[0.57362, 6.0, 0.97836], [0.0, 3.35769, 0.36788]],
        [[0.0, 1.0, 0.99598], [0.0, 1.0, 0.0]],
    ],
    losses={
        **{"proposal": 6.48713, "boundary": 4.43044, "foreground": 1.49257, "offset": 3.29353},
        **{"contrast": 11.53334, "intra": 2.86602, "objects": 2.33411, "activities": 4.74336, "presence": 2.15309},
        **{"phi": 1.0, "phi_same": 1.0, "dropped": 0.0, "gate": 0.52095, "total": 14.13548},
    },
)
WITHOUT_REGIONS = Golden(
    settings={"regions": False},
    answers=[
        [[0.70268, 7.83334, 0.96162], [2.54634, 12.16181, 0.60991]],
        [[10.05017, 14.0, 0.67893], [1.3446, 6.71069, 0.20801]],
        [[0.50876, 6.0, 0.97899], [0.0, 3.36487, 0.29209]],
        [[0.0, 1.0, 0.99581], [0.0, 1.0, 0.0]],
    ],
    losses={
        **{"proposal": 6.39241, "boundary": 4.35611, "foreground": 1.42052, "offset": 3.1668},
        **{"contrast": 7.72811, "intra": 3.74827, "objects": 2.12201, "activities": 4.74336, "presence": 2.02461},
        **{"phi": 1.0, "phi_same": 1.0, "dropped": 0.0, "gate": 0.52095, "total": 12.90078},
    },
)
GOLDEN = pytest.mark.parametrize("golden", [HEAD, WHOLE, WITHOUT_REGIONS], ids=["head", "whole", "without regions"])


def predict(settings: dict[str, Any]) -> Answers:
    net = network(**settings)
    with torch.inference_mode():
        spans, scores = decode(net(batch(SHAPE, regions=settings.get("regions", True))).head, 2, net.config)
    return [
        [[*span, score] for span, score in zip(*query, strict=True)]
        for query in zip(spans.tolist(), scores.tolist(), strict=True)
    ]


def losses(settings: dict[str, Any]) -> dict[str, float]:
    net = network(**settings, **NO_DROPOUT).train()
    torch.manual_seed(0)
    output = net(batch(SHAPE, regions=settings.get("regions", True)))
    total, terms, statistics = MKTNCriterion(LossConfig(), net.config)(output, targets(SHAPE))
    return {name: float(value.detach()) for name, value in {**terms, **statistics, "total": total}.items()}


@GOLDEN
def test_predictions_do_not_change(golden: Golden) -> None:
    for query, (answers, expected) in enumerate(zip(predict(golden.settings), golden.answers, strict=True)):
        for rank, (answer, expected_answer) in enumerate(zip(answers, expected, strict=True)):
            if expected_answer[2] == 0:  # no answer of that rank
                assert answer[2] == 0
            else:
                assert answer == pytest.approx(expected_answer, abs=1e-4), f"query {query}, rank {rank}"


@GOLDEN
def test_losses_do_not_change(golden: Golden) -> None:
    values = losses(golden.settings)
    assert {name: values[name] for name in golden.losses} == pytest.approx(golden.losses, abs=1e-4)
    assert values.keys() == golden.losses.keys() or golden is HEAD


if __name__ == "__main__":
    for golden in (HEAD, WHOLE, WITHOUT_REGIONS):
        print(golden.settings)
        for row in predict(golden.settings):
            print(f"    {[[round(value, 5) for value in answer] for answer in row]},")
        print({name: round(value, 5) for name, value in losses(golden.settings).items()})
