"""CFLOW-AD's tables and figures."""

from hgad_jax.reproducing.models import CFLOW, costs, dotted
from hgad_jax.reproducing.tables import COMPLEXITY, Column, Table

_SEEDS = (0, 1, 2, 3)
_SEGMENTATION = ("pixel_auroc",)
_WHOLE = ("image_auroc", "pixel_auroc", "pixel_aupro_dfr1000", "pixel_aupro")


def _cflow(name: str, words: str, size: int, figures: str = "", **settings: str) -> Column:
    changed = dotted(settings)
    return Column(
        name,
        "cflow_mvtec_ad",
        words,
        CFLOW | {"data.image_size": str(size)} | changed,
        figures=figures or f"cflow_table2_{name}",
    )


_TWO = {"backbone__taps": "('layer3','layer4')"}
_TABLE_2 = (
    _cflow("wrn50_4cl_2pl_256", "wide_resnet50_2", 256, detector__num_blocks="4", **_TWO),
    _cflow("wrn50_8cl_2pl_256", "wide_resnet50_2", 256, **_TWO),
    _cflow("wrn50_256", "wide_resnet50_2", 256),
    _cflow("wrn50_512", "wide_resnet50_2", 512),
    _cflow("wrn50_512_uflow", "wide_resnet50_2", 512, detector__condition_channels="0"),
    _cflow("r18_256", "resnet18", 256),
    _cflow("r18_512", "resnet18", 512),
    _cflow("mnv3_256", "mobilenetv3_large", 256),
    _cflow("mnv3_512", "mobilenetv3_large", 512),
)
_HAZELNUT = {"hazelnut": {"data.image_size": "512"}}  # the paper's figure, if not the README's command
_WRN50 = Column(
    "wrn50",
    "cflow_mvtec_ad",
    "wide_resnet50_2",
    CFLOW,
    figures="cflow_table3_wrn50",
    set_for=_HAZELNUT,
)
_TABLE_3 = (
    Column("r18", "cflow_mvtec_ad", "resnet18", CFLOW, figures="cflow_table3_r18"),
    _WRN50,
    Column("spade", "spade_mvtec_ad", "wide_resnet50_2", figures="cflow_table3_spade"),
    Column("padim", "padim_mvtec_ad", "wide_resnet50_2", figures="cflow_table3_padim"),
)
_CUTPASTE = "CutPaste is no system of this package"


CFLOW_COSTS = {
    "padim_r18": ("padim_mvtec_ad", "resnet18,bottle"),
    "cflow_r18": ("cflow_mvtec_ad", "resnet18,bottle"),
    "spade_wrn50": ("spade_mvtec_ad", "wide_resnet50_2,bottle"),
    "padim_wrn50": ("padim_mvtec_ad", "wide_resnet50_2,bottle"),
    "cflow_wrn50": ("cflow_mvtec_ad", "wide_resnet50_2,bottle"),
    "cflow_mnv3": ("cflow_mvtec_ad", "mobilenetv3_large,bottle"),
}
TABLES = (
    Table("cflow_table2", "CFLOW-AD, Table 2: ablation", _TABLE_2, metrics=_SEGMENTATION, seeds=_SEEDS),
    Table(
        "cflow_table3",
        "CFLOW-AD, Table 3: class by class",
        _TABLE_3,
        metrics=_WHOLE,
        seeds=_SEEDS,
        note=_CUTPASTE,
    ),
    Table(
        "cflow_table4",
        "CFLOW-AD, Table 4: averages",
        (
            _WRN50._replace(figures="cflow_table4_wrn50"),
            *(c._replace(figures=f"cflow_table4_{c.name}") for c in _TABLE_3[2:]),
        ),
        metrics=_WHOLE,
        seeds=_SEEDS,
        note="DifferNet, DFR, SVDD and CutPaste are no systems of this package",
    ),
    Table(
        "cflow_table5",
        "CFLOW-AD, Table 5: ShanghaiTech Campus",
        (Column("wrn50", "cflow_stc", "wide_resnet50_2", CFLOW, figures="cflow_table5_wrn50"),),
        dataset="stc",
        note="12 scenes, those with ground truth; the paper counts 13. CAVGA is no system of this package",
    ),
    Table(
        "cflow_table6",
        "CFLOW-AD, Table 6: frames a second and MB",
        costs(CFLOW_COSTS, "cflow_table6", data__image_size="256"),
        kind=COMPLEXITY,
    ),
    Table(
        "cflow_figure3",
        "CFLOW-AD, Figure 3: heat maps and masks",
        (_WRN50._replace(figures=""),),
        report=True,
        note="the pictures are in each run's report.html",
    ),
    Table(
        "cflow_figure4",
        "CFLOW-AD, Figure 4: distribution of scores of cable",
        (_WRN50._replace(figures=""),),
        classes=("cable",),
        report=True,
        note="the histogram is in the run's report.html",
    ),
    Table(
        "cflow_table1",
        "CFLOW-AD, Table 1: complexity in symbols",
        cannot="It has no figures, only formulas: nothing can be measured.",
    ),
)
