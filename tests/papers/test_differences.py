"""A run finds the figures it can be compared with, and every difference of settings is listed."""

import pytest

from hgad_jax.config import get_config
from hgad_jax.papers.compare import Measured, comparison, differences, matching, of_class
from hgad_jax.papers.figures import every

FIGURES = every()["cflow_table3_wrn50"]
AS_PUBLISHED = Measured(state="best", runs=4)


def as_published(words="screw"):
    """A config that differs in nothing from what CFLOW-AD's Table 3 was made with."""
    config = get_config("cflow_mvtec_ad", words)
    config.calibration.fraction = 0.0
    return config


def listed(config, measured=AS_PUBLISHED, figures=FIGURES):
    return differences(config, figures, measured)


def test_where_nothing_differs_nothing_is_listed():
    assert listed(as_published()) == []


# What is changed → what has to be listed, and nothing else.
CHANGES = {
    "the images' size": ({"data.image_size": 256}, "images have 256 pixels a side, published with 512"),
    "the backbone": (
        {"backbone.name": "resnet18.tv_in1k"},
        "the backbone is resnet18.tv_in1k, published with wide_resnet50_2",
    ),
    "the backbone's weights": (
        {"backbone.name": "wide_resnet50_2.racm_in1k"},
        "the backbone's weights are racm_in1k, published with tv_in1k",
    ),
    "held-out images": (
        {"calibration.fraction": 0.15},
        "15% of the good images are held out of training, published with all trained on",
    ),
    "epochs": ({"train.epochs": 8.0}, "config.train.epochs is 8.0, published with 200.0"),
    "fibres": ({"detector.fibre": 8192}, "config.detector.fibre is 8192, published with 256"),
    "the config's protocol": (
        {"scoring.protocol": "calibrated"},
        "scores are of the protocol calibrated, published with paper",
    ),
    "other images": (
        {"data.allow_partial": True},
        "config.data.allow_partial is True: the images may be others than the published ones",
    ),
}


@pytest.mark.parametrize("changed", CHANGES)
def test_another_setting_of_the_run_is_listed(changed):
    settings, sentence = CHANGES[changed]
    config = as_published()
    config.update_from_flattened_dict(settings)
    assert listed(config) == [sentence]


MEASURED = {
    "the protocol's flag": ({"protocol": "calibrated"}, "scores are of the protocol calibrated"),
    "the last state": ({"state": "last"}, "these figures are of the last state, the published ones the best"),
    "one run": ({"runs": 1}, "of 1 run, published as the mean of 4"),
    "another AUPRO": ({"aupro": ("exact",)}, "AUPRO here is exact, and its source has that by dfr1000"),
}


@pytest.mark.parametrize("changed", MEASURED)
def test_another_evaluation_is_listed(changed):
    settings, beginning = MEASURED[changed]
    (found,) = listed(as_published(), AS_PUBLISHED._replace(**settings))
    assert found.startswith(beginning)


def test_classes_in_one_model_are_listed_and_the_sizes_of_their_images():
    assert listed(as_published("")) == [
        "images have 512 pixels a side, published with 128 or 256 or 512 pixels, by class",
        "this is one model of all classes, published one model of one class",
    ]


def test_one_model_of_a_class_is_listed_where_all_were_together():
    config = get_config("hgad_btad", "paper,tf_efficientnet_b6,01")
    found = differences(config, every()["hgad_btad"])
    assert "this is one model of one class, published one model of all classes" in found


def test_the_papers_size_of_hazelnut_is_not_that_of_the_readme():
    assert listed(as_published("hazelnut")) == ["images have 256 pixels a side, published with 512"]
    assert listed(as_published("transistor")) == []


def test_a_window_is_no_best_state():
    config = get_config("fastflow_mvtec_ad", "resnet18,altub,screw")
    found = differences(config, every()["altub_tablea1_r18_altub"], Measured(state="best"))
    assert any("the mean over a window of epochs 100 to 300" in line for line in found)


def test_what_a_source_does_not_say_is_said():
    config = get_config("spade_mvtec_ad", "screw")
    (found,) = [
        line
        for line in differences(config, every()["cflow_table3_spade"])
        if line.startswith("the source does not say")
    ]
    assert "the images' size" in found
    assert "of which state the figures are" in found
    assert any(
        "AUPRO" in line
        for line in listed(get_config("spade_mvtec_ad", "screw"), figures=every()["cflow_table3_spade"])
    )


def test_a_shorter_list_of_scenes_is_said():
    found = differences(get_config("cflow_stc", "01"), every()["cflow_table5_wrn50"])
    assert "12 scenes are averaged, those with ground truth; the paper counts 13" in found


def test_every_setting_of_every_block_is_compared():
    """A word in a file that nobody reads would be a difference that is never listed."""
    from hgad_jax.papers.compare import _COMPARED

    known = {*_COMPARED, "keys", "state", "window", "weights"}
    assert {word for f in every().values() for word in f.settings} <= known


@pytest.mark.parametrize(
    ("experiment", "words", "expected"),
    [
        ("cflow_mvtec_ad", "screw", "cflow_table3_wrn50"),
        ("cflow_mvtec_ad", "screw,altub", "altub_table1_cflow_altub"),
        ("cflow_mvtec_ad", "resnet18,cable", "cflow_table3_r18"),
        ("uflow_mvtec_ad", "screw", "cflow_table2_wrn50_512_uflow"),
        ("fastflow_btad", "altub,01", "altub_table3_fastflow_altub"),
        ("hgad_visa", "paper,tf_efficientnet_b6", "hgad_visa"),
        ("cflow_stc", "", "cflow_table5_wrn50"),
        ("padim_mvtec_ad", "resnet18,screw", "anomalib_padim_r18"),
    ],
)
def test_a_run_finds_its_figures(experiment, words, expected):
    assert matching(get_config(experiment, words)).name == expected


def test_a_run_of_one_class_gets_that_class():
    found = comparison(get_config("padim_mvtec_ad", "resnet18,screw"))
    assert found["classes"] == {"screw": {"image_auroc": 0.759, "pixel_auroc": 0.978}}
    assert found["mean"] == found["classes"]["screw"]


def test_of_another_backbone_the_figures_are_shown_with_that_difference():
    found = comparison(get_config("hgad_mvtec_ad"))
    assert found["mean"] == {"image_auroc": 0.984, "pixel_auroc": 0.979}
    assert found["differences"][0] == (
        "the backbone is tf_efficientnet_lite0, published with tf_efficientnet_b6"
    )
    assert "config.train.epochs is 16.0, published with 200.0" in found["differences"]


def test_a_column_that_is_out_of_order_is_not_shown_class_by_class():
    figures = every()["hgad_table3_cflow"]
    assert figures.misaligned == ("image_auroc",)
    assert figures.rows["grid"][0] == 97.6  # as printed; it is cable's
    assert of_class(figures, figures.rows["grid"]) == {"pixel_auroc": 0.99}


def test_lists_read_back_from_json_are_the_same_settings():
    config = as_published()
    config.backbone.taps = list(config.backbone.taps)
    assert listed(config) == []


def test_nothing_is_made_up():
    assert comparison(get_config("hgad_folder")) is None
    assert comparison(get_config("cflow_stc", "wide_resnet50_2,01")) is None
