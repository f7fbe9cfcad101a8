"""HGAD's tables: its README's and those of its appendix."""

from hgad_jax.reproducing.models import HGAD, costs
from hgad_jax.reproducing.tables import COMPLEXITY, Column, Table


def _hgad(dataset: str, where: str) -> Table:
    column = Column(
        "hgad",
        f"hgad_{dataset}",
        "paper,tf_efficientnet_b6",
        HGAD,
        together=True,
        figures=f"hgad_{dataset}",
    )
    return Table(f"hgad_{dataset}", f"HGAD, {where} (README of the released code)", (column,), dataset)


HGAD_COSTS = {
    "padim": ("padim_mvtec_ad", "wide_resnet50_2,bottle"),
    "fastflow": ("fastflow_mvtec_ad", "wide_resnet50_2,bottle"),
    "cflow": ("cflow_mvtec_ad", "wide_resnet50_2,bottle"),
    "hgad": ("hgad_mvtec_ad", "paper,tf_efficientnet_b6"),
}
_ONE_BY_ONE = {"padim": "wide_resnet50_2", "fastflow": "wide_resnet50_2", "cflow": "wide_resnet50_2"}
_UNIFIED = (
    *(
        Column(name, f"{name}_mvtec_ad", words, figures=f"hgad_table3_{name}")
        for name, words in _ONE_BY_ONE.items()
    ),
    *(
        Column(
            f"{name}_unified",
            f"{name}_mvtec_ad",
            words,
            together=True,
            figures="hgad_table3_fastflow_unified" if name == "fastflow" else "",
        )
        for name, words in _ONE_BY_ONE.items()
    ),
    Column(
        "hgad_unified",
        "hgad_mvtec_ad",
        "paper,tf_efficientnet_b6",
        HGAD,
        together=True,
        figures="hgad_mvtec_ad",
    ),
)
TABLES = (
    _hgad("mvtec_ad", "MVTec AD"),
    _hgad("btad", "BTAD"),
    _hgad("mvtec_3d_rgb", "MVTec 3D-RGB"),
    _hgad("visa", "VisA"),
    _hgad("union", "union of the four"),
    Table(
        "hgad_table2",
        "HGAD, appendix, Table 2: complexity",
        costs(HGAD_COSTS, "hgad_table2", data__image_size="256"),
        kind=COMPLEXITY,
        note=(
            "The appendix's 30.8 M parameters and 32.8 GFLOP of HGAD are not those of the released "
            "configuration, which has 14.4 M"
        ),
    ),
    Table(
        "hgad_table3",
        "HGAD, appendix, Table 3: one model a class, beside one of all classes",
        _UNIFIED,
        note="MKD, DRAEM, PMAD and UniAD are no systems of this package",
    ),
    Table(
        "hgad_figure1",
        "HGAD, appendix, Figure 1: histograms of log-likelihoods",
        (
            Column("hgad", "hgad_mvtec_ad", "paper,tf_efficientnet_b6", together=True),
            Column("one_for_one", "cflow_mvtec_ad", "wide_resnet50_2"),
        ),
        report=True,
        note="the histograms are in each run's report.html; the paper does not name its one-for-one method",
    ),
)
