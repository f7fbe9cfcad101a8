"""`scores.csv` of an evaluation: a row for every test image, to choose thresholds by and to look up."""

import csv
import io

import numpy as np

from hgad_jax.data.records import image_name
from hgad_jax.evaluation.evaluated import Evaluated
from hgad_jax.inference.plain_names import plain

SCORES = "scores.csv"
COLUMNS = (
    *("path", "class", "label", "defect", "scored_as", "score", "strangeness"),
    *("normalized", "p_value", "anomalous", "unknown", "unknown_p_value"),
)
GOOD, DEFECTIVE = "good", "defective"  # labels


def score_table(evaluated: Evaluated) -> str:
    """The table as CSV; what only thresholds give is empty where there are none."""
    test, scored, judged = evaluated.test, evaluated.scored, evaluated.decided.judged
    strangeness = np.full(len(test), np.nan) if scored.strangeness is None else scored.strangeness
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for i, record in enumerate(test.records):
        decided = [""] * 5
        if judged is not None:
            decided = [
                f"{judged.normalized[i]:.6f}",
                f"{judged.p_value[i]:.3g}",
                str(bool(judged.anomalous[i])).lower(),
                str(bool(judged.unknown[i])).lower(),
                f"{judged.unknown_p_value[i]:.3g}",
            ]
        writer.writerow(
            [
                plain(image_name(record.path)),
                plain(test.classes[test.labels[i]]),
                DEFECTIVE if test.anomalous[i] else GOOD,
                plain(record.defect),
                plain(test.classes[scored.class_ids[i]]),
                repr(float(scored.image[i])),
                "" if np.isnan(strangeness[i]) else repr(float(strangeness[i])),
                *decided,
            ]
        )
    return file.getvalue()
