"""AltUB's tables and figures."""

from hgad_jax.reproducing.models import BACKBONES, CFLOW, FASTFLOW, dotted
from hgad_jax.reproducing.tables import COMPLEXITY, NORMALITY, Column, Table

_ALTUB_SEED = (25,)
_SEGMENTATION = ("pixel_auroc",)
_BEST_OF_FOUR = "the paper takes the best of the four backbones for each class"
# AltUB's Table A1 underlines the backbone of each class in Table 2.
_OF_CLASS = {"carpet": "deit"} | dict.fromkeys(
    ("cable", "capsule", "hazelnut", "pill", "screw", "toothbrush"), "cait"
)


def _altub(experiment: str, backbone: str, name: str, figures: str, *, on: bool, **more) -> Column:
    every = FASTFLOW if experiment.startswith("fastflow") else CFLOW
    words = f"{BACKBONES[backbone]}{',altub' if on else ''}"
    return Column(name, experiment, words, every, figures=figures, **more)


def _pairs(dataset: str, window: tuple[int, int] | tuple[()], figures: str, backbones) -> tuple[Column, ...]:
    """FastFlow without and with AltUB on some backbones."""
    return tuple(
        _altub(
            f"fastflow_{dataset}",
            b,
            f"fastflow_{b}{'_altub' if on else ''}",
            figures.format(b=b, s="_altub" if on else ""),
            on=on,
            window=window,
        )
        for b in backbones
        for on in (False, True)
    )


def _by_class(on: bool) -> Column:
    altub = ",altub" if on else ""
    return Column(
        f"fastflow{'_altub' if on else ''}",
        "fastflow_mvtec_ad",
        f"wide_resnet50_2{altub}",
        FASTFLOW,
        figures=f"altub_table2_fastflow{'_altub' if on else ''}",
        of_class={name: f"{words}{altub}" for name, words in _OF_CLASS.items()},
        window=(100, 500),
    )


def _cflow_window(on: bool) -> Column:
    name = f"cflow{'_altub' if on else ''}"
    return _altub("cflow_mvtec_ad", "wrn50", name, f"altub_table2_{name}", on=on, window=(100, 200))


def _depth(blocks: int) -> Column:
    settings = FASTFLOW | {
        "detector.num_blocks": f"{blocks}",
        "train.epochs": "200",
        "eval.window": "(10,200)",
    }
    return Column(f"depth{blocks}", "fastflow_mvtec_ad", "resnet18", settings)


def _rule(name: str, altub: str, **settings: str) -> tuple[Column, ...]:
    """The four backbones on capsule, with one way to train the base distribution."""
    changed = dotted(settings)
    return tuple(
        Column(
            f"{name}_{b}",
            "fastflow_mvtec_ad",
            f"{words}{altub}",
            FASTFLOW | changed,
            figures=f"altub_table6_{name}",
            window=(100, 300),
            row=b,
        )
        for b, words in BACKBONES.items()
    )


def _ks(on: bool) -> tuple[Column, ...]:
    suffix = "_altub" if on else ""
    return tuple(
        Column(
            f"{b}{suffix}",
            "fastflow_mvtec_ad",
            f"{words}{',altub' if on else ''}",
            FASTFLOW | {"eval.normality": "True"},
            figures=f"altub_table5_fastflow{suffix}",
            window=(10, 500),
            row=b,
        )
        for b, words in BACKBONES.items()
    )


_ALTUB_COSTS = tuple(
    Column(
        f"{b}{suffix}",
        "fastflow_mvtec_ad",
        f"{words}{altub},bottle",
        figures=f"altub_table7_fastflow{suffix}",
        row=b,
    )
    for b, words in BACKBONES.items()
    for suffix, altub in (("", ""), ("_altub", ",altub"))
)
TABLES = (
    Table(
        "altub_table1",
        "AltUB, Table 1: best of training",
        (
            _altub("cflow_mvtec_ad", "wrn50", "cflow", "altub_table1_cflow", on=False),
            _altub("cflow_mvtec_ad", "wrn50", "cflow_altub", "altub_table1_cflow_altub", on=True),
            *_pairs("mvtec_ad", (), "altub_table1_fastflow{s}", BACKBONES),
        ),
        seeds=_ALTUB_SEED,
        note=f"{_BEST_OF_FOUR}; SSPCAB, CS-Flow and DifferNet are no systems of this package",
    ),
    Table(
        "altub_table2",
        "AltUB, Table 2: mean and deviation over epochs",
        (_by_class(False), _by_class(True), _cflow_window(False), _cflow_window(True)),
        seeds=_ALTUB_SEED,
    ),
    Table(
        "altub_table3",
        "AltUB, Table 3: BTAD, best of training",
        _pairs("btad", (), "altub_table3_fastflow{s}", ("wrn50",)),
        dataset="btad",
        metrics=_SEGMENTATION,
        seeds=_ALTUB_SEED,
        note="P-SVDD, VT-ADL and the method of Tsai et al. are no systems of this package",
    ),
    Table(
        "altub_table4",
        "AltUB, Table 4: BTAD, mean and deviation over epochs",
        _pairs("btad", (100, 500), "altub_table4_fastflow{s}", ("wrn50",)),
        dataset="btad",
        metrics=_SEGMENTATION,
        seeds=_ALTUB_SEED,
    ),
    Table(
        "altub_table5",
        "AltUB, Table 5: Kolmogorov-Smirnov statistic",
        (*_ks(False), *_ks(True)),
        classes=("capsule",),
        metrics=("ks",),
        seeds=_ALTUB_SEED,
        note="the paper does not name the class; capsule is that of its Figures 1 and 3",
    ),
    Table(
        "altub_table6",
        "AltUB, Table 6: ways to train the base distribution, capsule",
        (
            *_rule("none", ""),
            # Never a frozen epoch: the base is trained as the rest is.
            *_rule("ster", ",altub", altub__first_epoch="1", altub__freeze_interval="1000000"),
            *_rule("ours", ",altub"),
        ),
        classes=("capsule",),
        metrics=_SEGMENTATION,
        seeds=_ALTUB_SEED,
        note="a base distribution that a convolution predicts (CNN) is no part of this package",
    ),
    Table(
        "altub_table7",
        "AltUB, Table 7: milliseconds an image",
        _ALTUB_COSTS,
        kind=COMPLEXITY,
    ),
    Table(
        "altub_tablea1",
        "AltUB, Table A1: mean and deviation over epochs, all backbones",
        _pairs("mvtec_ad", (100, 300), "altub_tablea1_{b}{s}", BACKBONES),
        metrics=_SEGMENTATION,
        seeds=_ALTUB_SEED,
    ),
    Table(
        "altub_figure1",
        "AltUB, Figure 1: are latents normal, and standard normal",
        (Column("cait", "fastflow_mvtec_ad", "cait", FASTFLOW),),
        classes=("capsule",),
        seeds=_ALTUB_SEED,
        kind=NORMALITY,
    ),
    Table(
        "altub_figure3",
        "AltUB, Figure 3: latents and AUROC by depth",
        tuple(map(_depth, (1, 2, 4, 8, 16))),
        classes=("capsule",),
        seeds=_ALTUB_SEED,
        kind=NORMALITY,
    ),
    Table(
        "altub_figure4",
        "AltUB, Figure 4: AUROC over epochs, pill",
        _pairs("mvtec_ad", (), "", ("cait",)),
        classes=("pill",),
        metrics=_SEGMENTATION,
        seeds=_ALTUB_SEED,
        note="the curve is in the CSV file of evaluations",
    ),
)
