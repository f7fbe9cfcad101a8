"""What a training that diverged tells."""

import numpy as np
import pytest

from hgad_jax.errors import UserError
from hgad_jax.runs import checkpoints
from hgad_jax.training import divergence


@pytest.mark.parametrize(
    ("weights", "step", "expected"),
    [
        ("random:0", None, "no checkpoint was written yet.*weights are random .*take pretrained weights"),
        ("5f" * 32, 4, r"step 4 is kept.*lower config\.train\.learning_rate"),
    ],
)
def test_the_step_the_terms_and_what_helps_are_named(weights, step, expected, monkeypatch):
    monkeypatch.setattr(checkpoints, "latest_step", lambda manager: step)
    fine = {"loss": np.float32(1), "level0/likelihood": np.float32(2)}
    assert divergence.mean_metrics([fine, fine], 6, None, weights) == {"loss": 1, "level0/likelihood": 2}
    bad = fine | {"level0/likelihood": np.float32(np.nan)}
    with pytest.raises(UserError, match=rf"Not finite at step 7: level0/likelihood \(.*{expected}"):
        divergence.mean_metrics([fine, bad, fine], 8, None, weights)
