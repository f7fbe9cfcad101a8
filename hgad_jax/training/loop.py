"""Training: from a config and a folder to a calibrated model in checkpoints."""

import contextlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from absl import logging
from jax.sharding import Mesh

from hgad_jax.backbones.sources import absolute_source
from hgad_jax.config import validate
from hgad_jax.data import Dataset, named_groups, own
from hgad_jax.detectors import Detector
from hgad_jax.files import disk_errors, expanded
from hgad_jax.progress_bar import progress_bar
from hgad_jax.runs import checkpoints, near_duplicates, processes, provenance, pseudo_classes, workdir
from hgad_jax.runs import images as run_images
from hgad_jax.runs.calibrate import make_calibrate
from hgad_jax.runs.mesh import data_mesh, replicate
from hgad_jax.runs.model import (
    Model,
    abstract_model,
    build_model,
    cache_directory,
    cached_features,
    load_usable,
)
from hgad_jax.runs.phases import CALIBRATING, FEATURES, FITTING, LISTING, TRAINING, Phases, seconds_of
from hgad_jax.runs.phases import described as described_times
from hgad_jax.runs.phases import save as save_times
from hgad_jax.training import best_states, interrupt, optimizers, schedules, selection, stability_report
from hgad_jax.training.batches import placed, training_features
from hgad_jax.training.calibrating import calibrated, described_thresholds
from hgad_jax.training.divergence import all_finite, mean_metrics, not_finite
from hgad_jax.training.initial import initial_model
from hgad_jax.training.metric_log import MetricLog, NoLog
from hgad_jax.training.progress import Pace, describe_devices
from hgad_jax.training.stability import Stability
from hgad_jax.training.step import TrainState, init_state, make_train_step
from hgad_jax.training.training_set import TrainingSet, describe, training_set

_AFTER_A_REFUSAL = (
    "Checkpoints that were finished before are kept: then run the same command to go on from the newest of "
    "them."
)


@processes.others_may_die()
def train(config: Any, directory: str | Path, *, log: Callable[[str], None] = logging.info) -> TrainState:
    """Trains, or goes on training, in a folder.

    Args:
      config: as `hgad_jax.config.get_config` makes it.
      directory: the run's folder; running again with the same config goes on where it stopped.
      log: gets the lines meant for the user.

    Returns:
      The final state, which is also in the last checkpoint.

    Raises:
      UserError: something in config, data or folder that the user can mend, or a loss that is not finite.
    """
    directory = workdir.local_path(directory, to_train=True)
    config = config.copy_and_resolve_references()
    config.data.update(own.absolute_paths(config.data))  # so that the run can be evaluated from any folder
    config.backbone.source = absolute_source(config.backbone.source)
    config.cache.dir = str(expanded(config.cache.dir)) if config.cache.dir else ""
    mesh = data_mesh()
    validate(config, mesh.size)
    config.calibration.groups = named_groups.absolute(config.calibration.groups)
    phases = Phases()
    with phases(LISTING):
        dataset = load_usable(config, directory, log, to_train=True)
    model = build_model(config, pseudo_classes.num_classes(config, dataset))
    with (
        disk_errors(f"{directory} cannot be written", after=_AFTER_A_REFUSAL),
        workdir.locked(directory),  # from here on: nothing is made for a run that cannot start
    ):
        _prepare(directory, config)
        with (
            contextlib.ExitStack() as until_all_is_saved,
            checkpoints.open_manager(directory, keep=config.train.keep_checkpoints) as manager,
        ):
            found = _found(config, model, dataset, manager, directory, log)
            places = cache_directory(config, directory)
            with phases(FEATURES):
                cache = cached_features(config, model.levels, dataset.train, places, log)
            dataset = pseudo_classes.grouped(config, dataset, cache, directory, log)
            groups = near_duplicates.groups(config, dataset, cache, found.contents, directory, log)
            data = training_set(config, dataset, cache, groups)
            log(describe(dataset, data, model, mesh.size))
            stop = until_all_is_saved.enter_context(interrupt.watching())
            return _train(
                config, model, data, dataset.classes, found, manager, directory, mesh, stop, phases, log
            )


def _prepare(directory: Path, config) -> None:
    """The first process saves the config, or finds it saved; the others' have to be the same."""
    if processes.is_first():
        workdir.prepare(directory, config)
    first = processes.text_from_first(json.dumps(workdir.config_as_json(config)))
    workdir.refuse_another(directory, json.loads(first), config, anywhere=True)


class Found(NamedTuple):
    """What there is at the start.

    Attributes:
      contents: what the images hold, see `run_images.digests`.
      metadata: of the checkpoint to go on from, None without one.
      seconds: that earlier starts took, by phase.
    """

    contents: dict[str, str]
    metadata: dict[str, Any] | None
    seconds: dict[str, float]


def _found(config, model: Model, dataset: Dataset, manager, directory: Path, log) -> Found:
    """Looks for a checkpoint, and refuses one of another run before anything is computed for this one."""
    stored = checkpoints.newest_metadata(manager)
    images = run_images.run_images(config, dataset, directory)
    contents = run_images.digests(images)
    processes.refuse_different(json.dumps(contents), "sees other images")
    if stored is not None:
        provenance.check_same_run(
            f"{manager.directory}/{stored['step']}",
            stored,
            config,
            weights=model.levels.backbone_hash,
            contents=contents,
            changes=lambda then: run_images.changes(directory, then, images),
        )
        if "contents" not in stored:
            log("An earlier version made this checkpoint: whether the images are still the same is unknown.")
    if processes.is_first():
        run_images.save(directory, images)
    return Found(contents, stored, {} if stored is None else seconds_of(directory))


class Schedule(NamedTuple):
    """What depends on the step, and how many there are."""

    steps: int
    learning_rate: Callable
    loss_weights: Callable
    optimizer: Any


def make_schedule(config: Any, detector: Detector, num_examples: int) -> Schedule:
    """Turns the config's epochs of so many images into steps of a detector's training."""
    train, loss = config.train, dict(config.loss)
    per_epoch = num_examples / train.batch_size

    def steps(epochs):
        return math.ceil(epochs * per_epoch)

    learning_rate = schedules.learning_rate(
        peak=train.learning_rate,
        total_steps=max(1, steps(train.epochs)),
        warmup_steps=steps(train.warmup_epochs),
        warmup_start=train.warmup_start,
        final=train.final_learning_rate,
        hold_steps=max(1, steps(train.hold_epochs)),
    )
    optimizer = optimizers.create(config, detector, learning_rate, num_examples)
    weights = schedules.loss_weights(
        loss, stage_two_step=steps(train.stage_two_epoch), stage_two_only=detector.stage_two
    )
    return Schedule(steps(train.epochs), learning_rate, weights, optimizer)


def make_step(config: Any, model: Model, schedule: Schedule, mesh: Mesh) -> Callable:
    """The training step of a run: `step.make_train_step` by its config."""
    return make_train_step(
        model.detector,
        schedule.optimizer,
        schedule.loss_weights,
        mesh,
        micro_batches=math.gcd(config.train.micro_batches, config.train.batch_size // mesh.size),
        seed=config.seed,
    )


def _train(config, model, data, classes, found, manager, directory, mesh, stop, phases, log) -> TrainState:
    schedule = make_schedule(config, model.detector, len(data.train))
    selecting = selection.make_selection(config, model, data, schedule.steps, mesh)
    start_from = (config, model, data, classes, found, schedule.optimizer, manager, directory, log)
    with phases(FITTING):
        state, best, constants, start = _start(*start_from)
    state, best, constants = replicate(mesh, (state, best, constants))
    if start == 0:
        best = selecting.begin(state.params, constants)
    calibrate = make_calibrate(config, model) if len(data.held_out) else None
    weights = model.levels.backbone_hash

    def metadata_at(step):
        return _provenance(config, model, classes, data, found.contents, step) | {
            "calibration_images": len(data.boxes),
            "calibration_names": data.names,
            "clusters": pseudo_classes.as_metadata(config, directory),
        }

    def save(state):
        step = int(state.step)
        items = selection.to_items(state, best) | {"constants": constants}
        if calibrate:
            with phases(CALIBRATING):
                items["calibration"] = calibrated(calibrate, items["params"], constants, data)
        finite_of = items["calibration"]._asdict() if calibrate else {"parameters": items["params"]}
        bad = [name for name, part in finite_of.items() if not all_finite(part)]
        if bad:
            raise not_finite(f"after step {step}", bad, manager, weights)
        checkpoints.save(manager, step, items, metadata_at(step))
        images = step * config.train.batch_size
        save_times(directory, phases.seconds(), before=found.seconds, images=images)
        if selecting.over(best, step):
            for line in (*selection.describe(best), *described_thresholds(config, items, classes, data)):
                log(line)

    if start > 0 and selecting.over(best, start):
        log(f"{directory}: all {start} steps are done; nothing to train")
        return selection.kept(state, best)
    train_step = make_step(config, model, schedule, mesh)
    features = training_features(config, model.levels, data.records, data.cache, data.train, start)
    stability = Stability(config, model, data.test, classes, directory, log)
    first = processes.is_first()
    cache_bytes = sum(level.nbytes for level in data.cache.levels)
    log(describe_devices(mesh, config.train.batch_size, cache_bytes, schedule.steps - start))
    pace = Pace(schedule.steps, config.train.batch_size)
    bar = progress_bar(total=schedule.steps, initial=start, desc="training", unit="step", disable=not first)
    held_out = {}
    pending = []  # metrics on the device; fetched together so that the host does not wait at every step
    metric_log = MetricLog(directory, start) if first else NoLog()
    with phases(TRAINING), bar, contextlib.closing(metric_log), contextlib.closing(features):
        for step in range(start, schedule.steps):
            levels, indices, grids = next(features)
            batch = placed(mesh, config.train.batch_size, levels, data.labels[indices], grids)
            state, metrics = train_step(state, constants, *batch)
            pending.append(metrics)
            done = step + 1
            stopping = stop.reached(done)
            selects = selecting.due(done)
            if selects:
                best, held_out = selecting.after(best, state.params, constants, done)
            last = stopping or selecting.over(best, done)
            measured = stability.due(done, len(data.train) / config.train.batch_size)
            logged = done % config.train.log_every == 0 or done % config.train.checkpoint_every == 0
            if last or logged or measured or selects:
                mean = mean_metrics(pending, done, manager, weights)
                mean |= mean_metrics([held_out], done, manager, weights) if selects else {}
                if measured:
                    mean |= stability.measure(state.params, constants)
                    items = {"params": state.params, "constants": constants}
                    best_states.keep(config, directory, done, mean, items, metadata_at(done))
                metric_log.write(done, mean)
                bar.update(len(pending))
                images_per_second, estimate = pace.waited(done)
                rate = {"images_per_s": f"{images_per_second:.3g}"} if images_per_second else {}
                bar.set_postfix(loss=f"{mean['loss']:.4f}", **rate)
                if estimate:
                    log(estimate)
                pending.clear()
            if last or done % config.train.checkpoint_every == 0:
                save(state)
            if stopping and not selecting.over(best, done):
                raise interrupt.stopped(done, schedule.steps, directory)
            if last:
                break
    stability_report.write(config, directory, len(data.train) / config.train.batch_size, log)
    if not schedule.steps:  # the untrained model, for comparison
        save(state)
    log(f"{directory}: {int(state.step)} steps done, model saved")
    log(described_times(phases.seconds()))
    return selection.kept(state, best)


def _start(config, model, data, classes, found, optimizer, manager, directory, log):
    """State, the best one so far, constants and step to start with: the newest checkpoint's, or new ones."""
    if found.metadata is None:
        params, constants = initial_model(config, model, data)
        params, constants = processes.from_first((params, constants))
        return init_state(params, optimizer), None, constants, 0
    step = found.metadata["step"]
    now = _provenance(config, model, classes, data, found.contents, step)
    provenance.check_same_split(f"{manager.directory}/{step}", found.metadata, now)
    abstract = abstract_model(model)
    abstract |= selection.abstract_items(config, abstract["params"], optimizer)
    restored = checkpoints.restore(manager, step, abstract)
    checkpoints.set_aside(manager, step)
    if processes.is_first():
        workdir.save_places(directory, config)
    log(f"Going on from step {step}")
    return *selection.from_items(step, restored), restored["constants"], step


def _provenance(config, model: Model, classes, data: TrainingSet, contents, step: int) -> dict[str, Any]:
    return provenance.describe(
        config,
        weights=model.levels.backbone_hash,
        contents=contents,
        step=step,
        classes=classes,
        train=data.labels[data.train],
        held_out=data.labels[data.held_out],
        split=data.split,
    )
