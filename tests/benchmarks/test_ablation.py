"""The ablation's variants are what they say, and its table has the right mean and deviation."""

import importlib
import json
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from test_flow_benchmark import BENCHMARKS
from trees import add_class, tiny_config

from hgad_jax.config import get_config, validate
from hgad_jax.data import load_dataset


@pytest.fixture(scope="module")
def modules():
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(str(BENCHMARKS))
        names = ("ablation", "ablation_variants", "auroc_judge", "auroc_sides")
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in names})


@pytest.fixture(scope="module")
def problem(modules, tmp_path_factory):
    place = tmp_path_factory.mktemp("ablation")
    add_class(place / "data", "brick", test=2)
    config = tiny_config(
        place / "data", place / "cache", train__keep="last", train__warmup_epochs=0.0, train__epochs=8.0
    )
    return modules.auroc_judge.make_problem(config, load_dataset(config.data), lambda line: None)


def test_every_variant_is_a_config_that_differs_from_the_default(modules):
    base = get_config("hgad_folder")
    seen, folders = {}, set()
    for group in modules.ablation_variants.VARIANTS.values():
        for name, variant in group.items():
            config = get_config("hgad_folder")
            config.update_from_flattened_dict(variant.keys)
            validate(config, 1)
            assert (config.to_dict() != base.to_dict()) == (name != modules.ablation_variants.DEFAULT)
            key = json.dumps(variant.keys, sort_keys=True), variant.optimizer
            assert key not in seen, f"{name} is {seen.get(key)}"
            seen[key] = name
            folder = modules.ablation.folder_name(name)
            assert folder not in folders, f"{name} would be kept where another variant is"
            folders.add(folder)


def optimizers():
    return ("AdamW", "Lion", "Muon", "moving average")


@pytest.mark.slow
@pytest.mark.parametrize("start", optimizers())
def test_other_optimisers_train(modules, problem, start):
    variants = modules.ablation_variants.VARIANTS["optimisation"]
    (variant,) = (v for name, v in variants.items() if name.startswith(start))
    usual = modules.auroc_sides.JaxSide(problem, 0)
    side = modules.auroc_sides.JaxSide(problem, 0, optimizer=variant.optimizer, parameters=variant.parameters)
    for each in (side, usual):
        each.begin()
    before = jax.device_get(side.model()[0])
    side.data = side.data._replace(held_out=side.data.train)  # so few images say nothing of others
    likelihood = side.held_out()
    for each in (side, usual):
        each.advance(1e9)
    after = jax.device_get(side.model()[0])
    assert jax.tree.structure(after) == jax.tree.structure(before)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(after))
    assert side.held_out() > likelihood
    assert any(
        not np.allclose(a, b)
        for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(usual.model()[0]), strict=True)
    )


def test_the_table_has_mean_and_deviation_over_seeds(modules):
    def result(image, pixel, held_out):
        classes = {"tile": {"image_auroc": image, "pixel_auroc": pixel}, "cell": {"image_auroc": 0.5}}
        found = {"image_auroc": (image + 0.5) / 2, "pixel_auroc": pixel, "classes": classes}
        return found | {"held_out": held_out, "seconds": 10.0}

    found = {"objective": {"plain": [result(0.6, 0.7, -1.0), result(0.8, 0.7, -2.0)]}}
    rows = [line for line in modules.ablation.table(found, [0, 1]).splitlines() if line.startswith("|")]
    assert rows[0].count("|") == rows[1].count("|") == rows[2].count("|") == rows[3].count("|")
    assert [cell.strip() for cell in rows[3].strip("|").split("|")] == [
        "plain",
        "0.6000 ± 0.0500",
        "0.7000 ± 0.0000",
        "0.7000 ± 0.1000",
        "0.7000 ± 0.0000",
        "0.5000 ± 0.0000",
        "-1.5000 ± 0.5000",
        "10",
    ]
