"""What every row of `DETECTORS` has to be, with its own parts and with those of others.

A new detector, or a combination worth keeping, gets a line in `CASES`. Every flow under every base
distribution of every detector trains too (slow).
"""

import copy
import functools
import itertools
import json
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
import pytest

from hgad_jax import detectors
from hgad_jax.config import completed, get_config, validate
from hgad_jax.detectors import DETECTORS, Detector, former
from hgad_jax.distributions import BASES
from hgad_jax.errors import UserError
from hgad_jax.flows import FLOWS, Grid
from hgad_jax.flows.grid import take
from hgad_jax.runs import checkpoints
from hgad_jax.runs.mesh import data_mesh, per_image, replicate, shard_batch
from hgad_jax.training.loop import make_schedule
from hgad_jax.training.step import init_state, make_train_step

SIZE, IMAGES, CLASSES = (2, 3, 6), 8, 2
SMALL = {
    "detector.num_blocks": 1,
    "detector.kernel_sizes": (3,),
    "detector.condition_channels": 4,
    "detector.hidden_ratio": 1.0,
    "detector.num_centres": 2,
    "detector.delta_scale": 1.0,
    "detector.regions": 2,
    "detector.shrinkage": 0.1,
    "detector.identity_init": False,
    "detector.fibre": 8,
    "detector.dimensions": 3,
    "detector.gallery": 6,
    "detector.neighbours": 2,
    "detector.bank_size": 20,
    "detector.bank_candidates": 15,  # of the 18 or more that there are
    "train.positions": 0,
    "train.batch_size": 8,
    "train.stage_two_epoch": 0.0,
    "altub.freeze_interval": 2,
}
NO_TERMS = {"loss.mutual_information": 0.0, "loss.intra": 0.0}  # of classes that a normal distribution lacks


def parts(flow=None, base=None, **changes):
    chosen = {"detector.flow": flow, "detector.base": base}
    return {key: value for key, value in chosen.items() if value} | changes


CASES = {
    **{name: (name, {}) for name in DETECTORS},
    "hgad, FastFlow's couplings": ("hgad", parts(flow="convolution")),
    "hgad, no flow": ("hgad", parts(flow="none")),
    "hgad, AltUB": ("hgad", parts(base="trainable") | NO_TERMS),
    "hgad, one first layer for all": ("hgad", {"detector.per_class": False}),
    "cflow, the hierarchical mixture": ("cflow", parts(base="hierarchical") | {"loss.intra": 1.0}),
    "fastflow, AltUB": ("fastflow", parts(base="trainable")),
    "fastflow, the hierarchical mixture": ("fastflow", parts(base="hierarchical")),
}
CROSSED = [
    pytest.param((name, flow, base), marks=pytest.mark.slow, id=f"{name} {flow} {base}")
    for name, flow, base in itertools.product(("hgad", "cflow", "fastflow"), FLOWS, BASES)
]


class Row(NamedTuple):
    """A detector fitted to features, as its config makes it."""

    config: Any
    detector: Detector
    features: tuple[np.ndarray, ...]  # trained on
    others: tuple[np.ndarray, ...]  # of the same classes, not seen before
    labels: np.ndarray
    params: Any
    constants: Any
    evidence: Any  # jitted


def configured(name, changes):
    config = get_config(f"{name}_folder")
    keys = SMALL | changes
    own = {key: value for key, value in keys.items() if _has(config, key)}
    config.update_from_flattened_dict(own)
    return config


def _has(config, key):
    section, name = key.split(".")
    return name in config.get(section, {})


def build(config):
    detector = detectors.create(config.detector, CLASSES)
    rng, labels = np.random.default_rng(0), np.arange(IMAGES, dtype=np.int32) % CLASSES
    features, others = (
        ((rng.normal(size=(IMAGES, *SIZE)) + 2 * labels[:, None, None, None]).astype(np.float32),)
        for _ in range(2)
    )
    params, constants = detector.init(jax.random.key(0), [lambda: [(features[0], labels)]])
    return Row(config, detector, features, others, labels, params, constants, jax.jit(detector.evidence))


@functools.cache
def made(case):
    return build(configured(*CASES[case]))


@pytest.fixture(scope="module", params=CASES)
def row(request):
    return made(request.param)


def is_trained(case):
    return not detectors.create(configured(*CASES[case]).detector, CLASSES).fitted


TRAINED = [case for case in CASES if is_trained(case)]


def test_its_config_is_valid(row):
    validate(row.config, num_devices=1)
    assert not row.detector.terms or set(row.config.loss) >= {"likelihood"}


def leaves_with_names(tree):
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


def test_abstract_is_what_init_makes(row):
    made = leaves_with_names((row.params, row.constants))
    abstract = leaves_with_names(row.detector.abstract((SIZE,)))
    assert made.keys() == abstract.keys()
    for name, leaf in made.items():
        assert (leaf.shape, leaf.dtype) == (abstract[name].shape, abstract[name].dtype), name
        assert leaf.dtype in (np.float32, np.int32), name
        assert not abstract[name].weak_type, name
    assert jax.tree.leaves(row.params), "a checkpoint cannot hold nothing"


def assert_same(found, expected, tolerance=1e-5):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def test_evidence_finds_the_class_and_is_of_each_image_alone(row):
    found = row.evidence(row.params, row.constants, row.others)
    if row.config.detector.get("per_class", True):  # else the mixture tells, once it is trained
        np.testing.assert_array_equal(found.class_ids, row.labels)
    assert found.class_ids.dtype == np.int32
    assert found.class_log_prob.shape == (IMAGES, CLASSES)
    assert all(m.shape == (IMAGES, *SIZE[:2]) for m in (*found.log_likelihood, *found.negative_entropy))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
    alone = row.evidence(row.params, row.constants, tuple(x[3:4] for x in row.others))
    assert_same(alone, jax.tree.map(lambda leaf: leaf[3:4], found))
    told = row.evidence(row.params, row.constants, row.others, found.class_ids)
    assert_same(told, found, 1e-4)
    spread = per_image(row.detector.evidence, replicated=2, mesh=data_mesh(jax.devices()[:4]))
    assert_same(spread(row.params, row.constants, row.others, None), found)


def test_jit_equals_eager(row):
    arguments = (row.params, row.constants, tuple(x[:2] for x in row.others))
    assert_same(row.evidence(*arguments), row.detector.evidence(*arguments), 5e-5)


def test_the_mixture_over_classes_is_there_or_refused(row):
    evidence = functools.partial(row.detector.evidence, mix_classes=True)
    if not row.detector.mixes_classes:
        with pytest.raises(UserError, match="'mixture', which needs a model of the mixture"):
            evidence(row.params, row.constants, row.others)
        return
    mixed = jax.jit(evidence)(row.params, row.constants, row.others).log_likelihood[0]
    given = [
        row.evidence(row.params, row.constants, row.others, np.full(IMAGES, k, np.int32)).log_likelihood[0]
        for k in range(CLASSES)
    ]
    if row.config.detector.name == "fastflow":  # whose scores leave out a constant
        return
    assert np.all(mixed <= np.max(given, 0) + 1e-5)
    assert np.all(mixed >= np.min(given, 0) - np.log(CLASSES) / SIZE[-1] - 1e-5)


def step_of(row, devices, optimizer):
    weights = {name: 1.0 for name in row.config.loss if row.config.loss[name]}
    mesh = data_mesh(jax.devices()[:devices])
    step = make_train_step(row.detector, optimizer, lambda step: weights, mesh)
    state = replicate(mesh, init_state(jax.tree.map(np.array, row.params), optimizer))
    batch = shard_batch(mesh, (row.features, row.labels))
    return step, state, (replicate(mesh, row.constants), *batch)


@pytest.mark.parametrize("case", TRAINED)
def test_a_step_goes_down_and_is_the_same_on_two_devices(case):
    """With SGD, whose updates are as large as the gradients."""
    row, found = made(case), {}
    for devices in (1, 2):
        step, state, arguments = step_of(row, devices, optax.sgd(1e-3))
        history = []
        for _ in range(2):
            state, metrics = step(state, *arguments)
            history.append(jax.device_get(metrics))
        found[devices] = jax.device_get(state.params), history
        assert step._cache_size() == 1
    assert_same(found[2], found[1], 2e-5)
    params, history = found[1]
    assert history[1]["loss"] < history[0]["loss"]
    assert {name.removeprefix("level0/") for name in history[0] if "/" in name} == set(row.detector.terms)
    moved = [
        not np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (params, row.params)), strict=True)
    ]
    assert any(moved)


@pytest.mark.parametrize("case", TRAINED)
def test_a_run_can_stop_and_go_on(case, tmp_path):
    """Parameters and optimiser state by the config's own optimiser, through a checkpoint, to the bit."""
    row = made(case)
    schedule = make_schedule(row.config, row.detector, IMAGES)
    state = init_state(row.params, schedule.optimizer)
    items = {
        "params": state.params,
        "opt_state": state.opt_state,
        "constants": row.constants,
        "calibration": (np.zeros(1, np.float32),),
    }
    params, constants = row.detector.abstract((SIZE,))
    abstract = {"params": params, "opt_state": jax.eval_shape(schedule.optimizer.init, params)}
    with checkpoints.open_manager(tmp_path) as manager:
        checkpoints.save(manager, 1, items, {})
        assert checkpoints.latest_step(manager) == 1  # which waits for it
        restored = checkpoints.restore(manager, 1, abstract | {"constants": constants})
    for name in restored:
        assert jax.tree.structure(restored[name]) == jax.tree.structure(items[name])
        for a, b in zip(jax.tree.leaves(restored[name]), jax.tree.leaves(items[name]), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("case", TRAINED)
def test_a_grid_is_a_part_of_the_maps(case):
    row = made(case)
    if not row.detector.samples_positions:
        assert row.config.detector.flow == "convolution" or row.config.detector.name != "hgad"
        return
    args = row.params, row.constants
    maps = row.evidence(*args, row.others, row.labels).log_likelihood[0]
    grid = Grid(np.array([1]), np.array([0, 2]))
    part = tuple(take(x, grid, 1) for x in row.others)
    found = jax.jit(row.detector.log_likelihood)(*args, part, row.labels, (grid,))
    expected = np.mean(take(np.asarray(maps), grid, 1), (1, 2))
    assert np.ptp(np.float64(found[0]) - expected) < 1e-5, "but for a constant"


@pytest.mark.parametrize("combination", CROSSED)
def test_every_flow_under_every_base_trains(combination):
    name, flow, base = combination
    changes = parts(flow=flow, base=base) | ({"detector.fibre": 0} if flow == "convolution" else {})
    row = build(configured(name, changes))
    step, state, arguments = step_of(row, 1, optax.sgd(1e-3))
    losses = []
    for _ in range(2):
        state, metrics = step(state, *arguments)
        losses.append(float(metrics["loss"]))
    if flow == "none" and base == "standard":
        assert losses[1] == pytest.approx(losses[0], rel=1e-6), "nothing to train"
    else:
        assert losses[1] < losses[0]


def test_convolutions_have_no_fibres():
    config = configured("cflow", parts(flow="convolution"))
    with pytest.raises(
        UserError, match=r"config\.detector\.fibre is 8, expected 0: this flow takes whole maps"
    ):
        detectors.create(config.detector, CLASSES)


def test_a_weight_of_a_term_that_the_base_lacks_is_refused():
    config = configured("hgad", parts(base="standard"))
    with pytest.raises(UserError) as error:
        validate(config, num_devices=1)
    expected = "config.loss.{} is {}, expected 0: hgad with detector.base='standard' has no such term"
    lines = str(error.value).splitlines()
    assert sorted(line.split(", only")[0] for line in lines) == [
        expected.format("intra", 1.0),
        expected.format("mutual_information", 0.01),
    ]


def test_an_unknown_part_is_refused_with_the_known_ones():
    section = dict(configured("hgad", {}).detector)
    for key, known in (("flow", "'dense', 'convolution', 'none'"), ("base", "'standard', 'trainable'")):
        with pytest.raises(UserError, match=f"config.detector.{key} is 'nope', expected one of {known}"):
            detectors.create(section | {key: "nope"}, CLASSES)


def test_a_missing_key_is_named():
    section = dict(configured("hgad", {}).detector)
    del section["num_centres"]
    with pytest.raises(UserError, match=r"lacks num_centres, .* flow='dense' and base='hierarchical'"):
        detectors.create(section, CLASSES)


NEW = {
    "hgad": ("flow", "base", "kernel_sizes", "norm"),
    "cflow": ("flow", *("kernel_sizes", "norm", "num_centres", "centre_distance", "delta_scale")),
    "fastflow": ("flow", "condition_channels", "num_centres", "label_smoothing"),
}


@pytest.mark.parametrize("name", NEW)
def test_a_config_of_before_there_was_a_choice_is_the_same_run(name):
    """Without the new keys the same detector is made, and the run may go on."""
    config = json.loads(json.dumps(get_config(f"{name}_folder").to_dict()))
    former = copy.deepcopy(config)
    for key in NEW[name]:
        del former["detector"][key]
    if name == "hgad":
        del former["altub"]
    else:
        former["loss"] = {key: weight for key, weight in config["loss"].items() if weight or key[0] == "l"}
    assert former != config
    assert completed(former) == config
    own = (detectors.create(c["detector"], CLASSES).abstract((SIZE,)) for c in (former, config))
    assert len({str(jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)) for tree in own}) == 1


def test_a_checkpoint_of_format_1_is_read_under_the_names_of_today(tmp_path, monkeypatch):
    """Its parameters of HGAD are called mixture and rotations, in the optimiser's state too."""
    row = made("hgad")
    optimizer = make_schedule(row.config, row.detector, IMAGES).optimizer
    items = {"params": row.params, "opt_state": optimizer.init(row.params), "constants": row.constants}
    params, constants = row.detector.abstract((SIZE,))
    abstract = {"params": params, "constants": constants, "opt_state": jax.eval_shape(optimizer.init, params)}
    monkeypatch.setattr(checkpoints, "FORMAT", 1)
    with checkpoints.open_manager(tmp_path) as manager:
        calibration = {"calibration": (np.zeros(1, np.float32),)}
        checkpoints.save(manager, 1, former.to_former(items) | calibration, {})
        assert checkpoints.latest_step(manager) == 1
        stored = checkpoints.read_metadata(manager, 1)["arrays"]
        restored = checkpoints.restore(manager, 1, abstract)
    assert "[0].mixture.centres" in stored["params"]
    assert "[0].rotations" in stored["constants"]
    assert any(".mixture.centres" in place for place in stored["opt_state"])
    assert jax.tree.structure(restored) == jax.tree.structure(items)
    for a, b in zip(jax.tree.leaves(restored), jax.tree.leaves(items), strict=True):
        np.testing.assert_array_equal(a, b)
