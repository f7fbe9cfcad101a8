"""What other rates of false alarms would give: threshold, promise, and what came of it on labelled images."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hgad_jax.evaluation.decided import Decided
from hgad_jax.evaluation.scored import Scored
from hgad_jax.inference.eval_set import EvalSet
from hgad_jax.scoring.decision import Decision, threshold_of
from hgad_jax.scoring.promise import share

RATES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)


def rate_tables(test: EvalSet, scored: Scored, decided: Decided) -> dict[str, list[dict[str, Any]]]:
    """A table of each class; none where scores have no thresholds."""
    if decided.decision is None:
        return {}
    return {
        name: rate_table(
            decided.decision,
            k,
            scored.image[test.labels == k],
            scored.class_ids[test.labels == k],
            test.anomalous[test.labels == k],
        )
        for k, name in enumerate(test.classes)
    }


def rate_table(
    decision: Decision,
    class_id: int,
    scores: np.ndarray,
    class_ids: np.ndarray,
    anomalous: np.ndarray,
    rates: Sequence[float] = RATES,
) -> list[dict[str, Any]]:
    """Rows of one class, from the highest threshold on.

    Args:
      decision: of the model.
      class_id: of the class.
      scores: of its labelled images, `[N]`; of none is allowed.
      class_ids: that they were scored as: each is compared with the threshold of that class at the same rate.
      anomalous: their labels.
      rates: that are asked for.
    """
    rows: list[dict[str, Any]] = []
    for rate in rates:
        of_classes = {k: threshold_of(decision, k, rate) for k in {class_id, *np.unique(class_ids).tolist()}}
        values = np.array([of_classes[k].value for k in class_ids.tolist()])
        own, called = of_classes[class_id], scores > values
        alarms = share(int(np.sum(called & ~anomalous)), int(np.sum(~anomalous)))
        misses = share(int(np.sum(~called & anomalous)), int(np.sum(anomalous)))
        rows.append(
            {
                "asked": rate,
                "threshold": own.value,
                "kind": own.kind,
                "promised": own.rate,
                "promised_ci": list(own.interval),
                "false_alarms": alarms.number,
                "false_alarm_rate": alarms.rate,
                "false_alarm_rate_ci": alarms.interval and list(alarms.interval),
                "misses": misses.number,
                "miss_rate": misses.rate,
                "miss_rate_ci": misses.interval and list(misses.interval),
            }
        )
    return rows
