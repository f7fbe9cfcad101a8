"""The kill test, shortened (minutes): `make soak` runs it whole."""

import soak


def test_a_run_killed_and_damaged_at_random_ends_bit_for_bit_like_one_left_alone(tmp_path):
    run = soak.soak(tmp_path, kills=2, terms=1, damages=1, seed=2, steps=16)
    assert sum(count for what, count in run.hits.items() if what.startswith("SIGKILL")) >= 2, run.hits
    assert run.hits["SIGKILL in a checkpoint write"] >= 1, run.hits
    assert sum(count for what, count in run.hits.items() if what.startswith("newest checkpoint")) == 1
    assert run.rounds >= 2, "one after the kills, one after the damage"
