"""Predictions of a network with fixed weights on a fixed input, so that a refactoring that changes them is noticed.

The weights depend on the parameters' names and shapes, and the parts that can be switched off are off, but for the
offsets. If the predictions change on purpose, put in the numbers that this prints:

    python -m tests.modeling.test_golden
"""

from __future__ import annotations

import pytest
import torch

from mttsg_core.config import LossConfig
from mttsg_core.modeling.grounding_head import decode
from mttsg_core.training.losses import objective
from tests.helpers.tiny import ONLY_THE_HEAD, batch, network

SHAPE = ((14, 2), (6, 1), (1, 1))

# start and end in clips, and score, of the two best answers to each of the four queries
ANSWERS = [
    [[0.0, 7.82323, 0.63132], [1.39458, 13.90954, 0.02356]],
    [[0.0, 7.48229, 0.5736], [1.48574, 12.137, 0.03603]],
    [[2.8404, 6.0, 0.90427], [0.0, 4.76053, 0.32696]],
    [[0.0, 1.0, 0.99074], [0.0, 1.0, 0.0]],
]  # fmt: skip
LOSSES = {"span": 4.50198, "boundary": 3.68038, "inside": 1.13841, "offset": 3.63548}


def answers() -> list[list[list[float]]]:
    with torch.inference_mode():
        bounds, scores = decode(network(**ONLY_THE_HEAD)(batch(SHAPE)).head, 2)
    return [
        [[*span, score] for span, score in zip(*row, strict=True)]
        for row in zip(bounds.tolist(), scores.tolist(), strict=True)
    ]


def losses() -> dict[str, float]:
    net, made = network(**ONLY_THE_HEAD), batch(SHAPE, bounds=True)
    terms = objective(net, net(made), made, LossConfig()).terms
    return {name: float(terms[name]) for name in ("span", "boundary", "inside", "offset")}


def test_predictions_are_as_they_were() -> None:
    for query, (found, expected) in enumerate(zip(answers(), ANSWERS, strict=True)):
        for rank, (one, other) in enumerate(zip(found, expected, strict=True)):
            if other[2] == 0:  # no answer of that rank
                assert one[2] == 0
            else:
                assert one == pytest.approx(other, abs=1e-4), f"query {query}, rank {rank}"


def test_losses_are_as_they_were() -> None:
    assert losses() == pytest.approx(LOSSES, abs=1e-4)


if __name__ == "__main__":
    print("ANSWERS = [")
    for row in answers():
        print(f"    {[[round(value, 5) for value in answer] for answer in row]},")
    print("]  # fmt: skip")
    print("LOSSES =", {name: round(value, 5) for name, value in losses().items()})
