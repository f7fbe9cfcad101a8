"""HGAD as published, in PyTorch and FrEIA: our own implementation, to be timed and scored beside ours.

Every value is that of the released code (Yao et al., ECCV 2024): per level twelve conditional blocks, ten
centres a class, all loss terms with their gradient routing, one Adam over all levels with weight decay on the
flows alone, and for every batch a step per level, one after the other. Batches are shuffled anew in every
pass, and what is left over at its end is dropped. Numbers come from a config such as `hgad_folder`,
whose preset `paper` has the published ones; learning rate and loss weights are those of
`hgad_jax.training.schedules`, which a pass of dropped remainders makes the published schedules.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import freia_flow
import jax
import numpy as np
import torch
from torch.nn.functional import log_softmax, logsigmoid

from hgad_jax.detectors.compose import LevelConstants, LevelParams
from hgad_jax.distributions.mixture import MixtureParams, block_identity_centres
from hgad_jax.flows.conditioning import identity_affine

TERMS = ("likelihood", "mutual_information", "entropy", "intra", "log_sigmoid")
_LOG_2PI = math.log(2 * math.pi)


class LevelSize(NamedTuple):
    """A level's maps and what depends on their size."""

    height: int
    width: int
    channels: int


class Level(torch.nn.Module):
    """One level: flow, class centres, further centres relative to them, and the logits of both."""

    def __init__(self, config: Any, size: LevelSize, num_classes: int, seed: int):
        super().__init__()
        keys = config.detector
        self.smoothing = keys.label_smoothing
        flow_size = freia_flow.Size(
            blocks=keys.num_blocks,
            channels=size.channels,
            condition=keys.condition_channels,
            hidden_ratio=int(keys.hidden_ratio),
            images=config.train.batch_size,
            height=size.height,
            width=size.width,
            clamp=keys.clamp,
        )
        self.flow = freia_flow.build_flow(flow_size, seed, published=True)  # also seeds PyTorch
        self.condition = freia_flow.condition_vectors(flow_size)
        centres = block_identity_centres(num_classes, size.channels, distance=keys.centre_distance)
        others = (num_classes, keys.num_centres - 1, size.channels)
        self.centres = torch.nn.Parameter(torch.from_numpy(np.array(centres)))
        self.deltas = torch.nn.Parameter(keys.delta_scale * torch.randn(others))
        self.class_logits = torch.nn.Parameter(torch.zeros(num_classes))
        self.centre_logits = torch.nn.Parameter(torch.zeros(num_classes, keys.num_centres))

    def losses(self, features: torch.Tensor, labels: torch.Tensor, *, stage_two: bool) -> dict[str, Any]:
        """The terms of the loss, means over all vectors; those of stage two only where they are wanted.

        Args:
          features: of a batch `[B, h, w, C]`.
          labels: class ids `[B]`, int64.
          stage_two: whether `intra` and `log_sigmoid` are.
        """
        images, channels = features.shape[0], features.shape[-1]
        z, log_det = self.flow(features.reshape(-1, channels), [self.condition])
        norm = 0.5 * (z**2).sum(1)
        # −‖z − μ‖²/2 + ‖z‖²/2: the norm is common to all classes and falls out of every softmax.
        logits = z @ self.centres.T - 0.5 * (self.centres**2).sum(1)
        log_prior = log_softmax(self.class_logits, 0)
        likelihood = (norm - torch.logsumexp(logits + log_prior, 1) - log_det).mean() / channels
        held = log_prior.detach()
        wanted = torch.full((images, len(held)), self.smoothing / len(held))
        wanted[torch.arange(images), labels] += 1 - self.smoothing
        gain = log_softmax(logits + held, 1) - held
        gain = (wanted[:, None] * gain.reshape(images, -1, len(held))).sum(-1).mean()
        log_posterior = log_softmax(logits, 1)
        entropy = -(log_posterior.exp() * log_posterior).sum(1).mean()
        terms = {"likelihood": likelihood, "mutual_information": gain, "entropy": entropy}
        return terms | (self._intra(z, norm, log_det, labels) if stage_two else {})

    def _intra(self, z, norm, log_det, labels) -> dict[str, torch.Tensor]:
        """The terms of the own class's centres; its main centre is held."""
        main = self.centres.detach()[:, None]
        centres = torch.cat([main, main + self.deltas], 1)[labels]  # [B, M, C]
        weights = log_softmax(self.centre_logits, 1)[labels] - 0.5 * (centres**2).sum(-1)
        maps = z.reshape(len(labels), -1, z.shape[1])
        mixed = torch.logsumexp(maps @ centres.transpose(1, 2) + weights[:, None], -1).reshape(-1)
        log_prob = (mixed - norm + log_det) / z.shape[1]
        return {"intra": -log_prob.mean(), "log_sigmoid": -logsigmoid(log_prob - 0.5 * _LOG_2PI).mean()}

    def params(self) -> LevelParams:
        """Our pytree of the same values."""
        arrays = (self.centres, self.deltas, self.class_logits, self.centre_logits)
        mixture = MixtureParams(*(p.detach().numpy().copy() for p in arrays))
        return LevelParams(freia_flow.to_params(self.flow), mixture)

    def constants(self) -> LevelConstants:
        """What is fixed, likewise; the published model has no first layer."""
        return LevelConstants(
            identity_affine(self.centres.shape[1]), None, freia_flow.to_rotations(self.flow)
        )


class PublishedHGAD:
    """The levels, their optimiser, and the step."""

    def __init__(
        self, config: Any, sizes: Sequence[tuple[int, int, int]], num_classes: int, schedule: Any, seed: int
    ):
        """Draws a model.

        Args:
          config: with the sections `detector` and `train`.
          sizes: (h, w, C) of each level.
          num_classes: K.
          schedule: `learning_rate` and `loss_weights`, functions of the number of batches done.
          seed: of the weights.
        """
        self._as_none = config.detector.zero_grad == "none"  # as PyTorch from 2.0 on
        seeds = np.random.SeedSequence(seed).generate_state(len(sizes))
        self.levels = torch.nn.ModuleList(
            Level(config, LevelSize(*size), num_classes, int(s)) for size, s in zip(sizes, seeds, strict=True)
        )
        self._at = jax.jit(lambda step: (schedule.learning_rate(step), schedule.loss_weights(step)))
        flows = [p for level in self.levels for p in level.flow.parameters() if p.requires_grad]
        centres = [p for level in self.levels for p in (level.centres, level.deltas)]
        logits = [p for level in self.levels for p in (level.class_logits, level.centre_logits)]
        self.optimizer = torch.optim.Adam(
            [
                {"params": flows, "weight_decay": config.train.weight_decay},
                {"params": centres},
                {"params": logits},
            ],
            lr=config.train.learning_rate,
            betas=(config.train.beta1, config.train.beta2),
        )

    def step(
        self, batches_done: int, features: Sequence[np.ndarray], labels: np.ndarray
    ) -> list[dict[str, float]]:
        """Trains on a batch, level by level; the loss terms of each.

        Args:
          batches_done: before this one.
          features: per level `[B, h, w, C]`.
          labels: `[B]`.
        """
        rate, weights = jax.tree.map(float, jax.device_get(self._at(batches_done)))
        weights["mutual_information"] *= -1  # maximised
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        labels = torch.from_numpy(np.asarray(labels, np.int64))
        found = []
        for level, maps in zip(self.levels, features, strict=True):
            stage_two = any(weights[name] for name in TERMS[3:])
            terms = level.losses(torch.from_numpy(maps), labels, stage_two=stage_two)
            loss = sum(weights[name] * value for name, value in terms.items())
            self.optimizer.zero_grad(set_to_none=self._as_none)
            loss.backward()
            self.optimizer.step()
            found.append({name: float(value.detach()) for name, value in terms.items()})
        return found

    def model(self) -> tuple[tuple[LevelParams, ...], tuple[LevelConstants, ...]]:
        """Parameters and constants as our detector has them."""
        return tuple(level.params() for level in self.levels), tuple(
            level.constants() for level in self.levels
        )

    def state(self) -> dict[str, Any]:
        """Tensors and plain values, for `torch.save`."""
        return {"levels": self.levels.state_dict(), "optimizer": self.optimizer.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from `state()`."""
        self.levels.load_state_dict(state["levels"])
        self.optimizer.load_state_dict(state["optimizer"])
