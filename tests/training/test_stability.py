"""When the test set is looked at while training."""

from pathlib import Path

import pytest
from trees import tiny_config

from hgad_jax.training.stability import Stability


@pytest.mark.parametrize(
    ("window", "every", "expected"),
    [
        ((0.1, 1.0), 0.1, range(1, 11)),  # where the quotients of floats are below the whole numbers
        ((0.2, 0.5), 0.1, range(2, 6)),
        ((1.0, 2.0), 1.0, (10, 20)),
        ((1.0, 3.0), 1.5, (15, 30)),
        ((0.0, 3.0), 0.75, (8, 15, 23, 30)),  # an epoch's quarter may end within a step
        ((), 1.0, ()),
    ],
)
def test_evaluations_are_where_the_window_has_them(window, every, expected):
    config = tiny_config("data", eval__window=window, eval__every=every)
    stability = Stability(config, None, (), (), Path(), print)
    assert [step for step in range(1, 31) if stability.due(step, 10)] == list(expected)
