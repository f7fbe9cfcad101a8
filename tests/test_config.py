"""The configs themselves, and the check of their values."""

import importlib
import re

import pytest
from trees import ROOT, tiny_config

from configs import (
    cflow,
    cflow_mvtec_ad,
    cflow_stc,
    default,
    fastflow,
    folder,
    hgad_btad,
    hgad_elpv,
    hgad_folder,
    hgad_mvtec_3d_rgb,
    hgad_mvtec_ad,
    hgad_stc,
    hgad_union,
    hgad_visa,
    padim,
    spade,
)
from configs.arguments import CLASSES
from hgad_jax.config import validate
from hgad_jax.data.geometry import Transform
from hgad_jax.errors import UserError
from hgad_jax.training.setup import build_model


def flat(config, prefix=""):
    for key, value in config.items():
        if hasattr(value, "items"):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


DATASETS = {
    default: "folder",
    folder: "folder",
    hgad_folder: "folder",
    hgad_elpv: "elpv",
    hgad_mvtec_ad: "mvtec_ad",
    hgad_btad: "btad",
    hgad_mvtec_3d_rgb: "mvtec_3d_rgb",
    hgad_visa: "visa",
    hgad_union: "union",
    hgad_stc: "stc",
}


@pytest.mark.parametrize("preset", ["default", "paper"])
@pytest.mark.parametrize("module", DATASETS)
def test_every_preset_of_every_config_is_valid(module, preset):
    config = module.get_config(preset)
    validate(config, num_devices=1)
    validate(config, num_devices=8)
    assert dict(flat(config)).keys() == dict(flat(default.get_config())).keys(), "a preset adds no key"
    assert config.data.name == DATASETS[module]


OTHERS = sorted(
    path.stem
    for path in (ROOT / "configs").glob("*_*.py")
    if path.stem.split("_")[0] in ("cflow", "uflow", "fastflow", "padim", "spade")
)


@pytest.mark.parametrize("name", OTHERS)
def test_every_preset_backbone_and_class_of_the_other_detectors(name):
    module = importlib.import_module(f"configs.{name}")
    method, dataset = name.split("_", 1)
    base = importlib.import_module(f"configs.{'cflow' if method == 'uflow' else method}")
    trained = method in ("cflow", "uflow", "fastflow")
    presets = ["default", "paper", *(["altub", "paper,altub"] if trained else [])]
    keys = dict(flat(module.get_config())).keys()
    for words in [*presets, *base.BACKBONES, *(f"{c},default" for c in CLASSES[dataset])]:
        config = module.get_config(words)
        validate(config, num_devices=1)
        validate(config, num_devices=8)
        assert config.data.name == dataset
        assert dict(flat(config)).keys() == keys, "no preset adds a key"
        assert config.backbone.equalize == 0, "published with maps as the backbone gives them"
        assert tuple(config.backbone.neighbours) == ()
        named = words.split(",")[0]
        assert config.data.class_name == (named if named in CLASSES[dataset] else "")
        if named in base.BACKBONES:
            assert config.backbone.name == base.BACKBONES[named][0]
        assert (config.detector.get("base", "standard") == "trainable") == ("altub" in words)
        if method == "uflow":
            assert config.detector.condition_channels == 0
    with pytest.raises(UserError, match="'nope', after the colon of --config, is not known"):
        module.get_config("nope")
    assert f"--config=configs/{name}.py" in module.__doc__


def test_two_backbones_are_refused():
    with pytest.raises(UserError, match=r"Two words for one backbone .*: resnet18, deit"):
        importlib.import_module("configs.fastflow").get_config("resnet18,paper,deit")


PAPERS = {
    "cflow": {
        "data.image_size": 512,
        "data.resize": "squash",
        "data.interpolation": "lanczos",
        "data.rotation": 5.0,
        "detector.num_blocks": 8,
        "detector.condition_channels": 128,
        "detector.clamp": 1.9,
        "detector.fibre": 256,
        "loss.log_sigmoid": 1.0,
        "loss.likelihood": 0.0,
        "train.learning_rate": 2e-4,
        "train.beta1": 0.9,
        "train.epochs": 200.0,
        "train.batch_size": 32,
        "altub.rate_ratio": 250.0,
        "altub.start_epoch": 16.0,
    },
    "fastflow": {
        "data.image_size": 256,
        "detector.num_blocks": 8,
        "detector.kernel_sizes": (3, 1),
        "detector.clamp": 2.0,
        "detector.norm": "trainable",
        "train.learning_rate": 1e-3,
        "train.final_learning_rate": 1.0,
        "train.weight_decay": 1e-5,
        "train.epochs": 500.0,
        "altub.rate_ratio": 50.0,
        "altub.freeze_interval": 5,
    },
}


@pytest.mark.parametrize("name", PAPERS)
def test_published_values_of_the_other_detectors(name):
    config = dict(flat(importlib.import_module(f"configs.{name}_mvtec_ad").get_config()))
    assert {key: config[key] for key in PAPERS[name]} == PAPERS[name]


def test_published_normalisation_of_cflow():
    """That of ImageNet, but on one dataset."""
    assert cflow_stc.get_config("01").backbone.std == (0.225,) * 3
    assert cflow_stc.get_config("01").backbone.mean == (0.5,) * 3
    assert cflow_stc.get_config("tf_efficientnet_lite0").backbone.mean == ()
    assert cflow_mvtec_ad.get_config("screw").backbone.mean == ()


def test_published_input_sizes_of_cflow():
    sizes = {c: cflow_mvtec_ad.get_config(c).data.image_size for c in CLASSES["mvtec_ad"]}
    assert [c for c, size in sizes.items() if size == 128] == ["transistor"]
    medium = [c for c, size in sizes.items() if size == 256]
    assert medium == ["cable", "capsule", "hazelnut", "metal_nut", "pill"]
    assert sizes["screw"] == 512


def test_the_default_preset_is_the_default():
    assert dict(flat(default.get_config("default"))) == dict(flat(default.get_config()))


PUBLISHED = {
    "data.image_size": 1024,
    "data.resize": "short_side_crop",
    "data.interpolation": "lanczos",
    "backbone.scales": (1, 2, 4),
    "backbone.equalize": 0.0,
    "backbone.neighbours": (),
    "detector.num_blocks": 12,
    "detector.condition_channels": 256,
    "detector.hidden_ratio": 2.0,
    "detector.clamp": 1.9,
    "detector.identity_init": False,
    "detector.conditioning": "none",
    "detector.num_centres": 10,
    "detector.label_smoothing": 0.02,
    "loss.likelihood": 1.0,
    "loss.mutual_information": 100.0,
    "loss.entropy": 1.0,
    "loss.intra": 1.0,
    "train.learning_rate": 2e-4,
    "train.beta1": 0.95,
    "train.beta2": 0.99,
    "train.weight_decay": 1e-4,
    "train.clip_norm": 0.0,
    "train.batch_size": 8,
    "train.epochs": 200.0,
    "train.stage_two_epoch": 16.0,
    "train.warmup_epochs": 16.0,
    "train.hold_epochs": 8.0,
    "scoring.protocol": "paper",
}


def test_paper_preset_holds_the_published_values():
    config = dict(flat(default.get_config("paper")))
    assert {key: config[key] for key in PUBLISHED} == PUBLISHED
    assert config["train.warmup_start"] * config["train.learning_rate"] == pytest.approx(2e-5)


def test_an_unknown_preset_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match="Preset 'quick' is not known; known presets: default, paper"):
        hgad_elpv.get_config("quick")


def test_every_key_is_read_by_the_package():
    source = "\n".join(path.read_text() for path in (ROOT / "hgad_jax").rglob("*.py"))
    # Alone, or as a hyper-parameter of the detector or a weight of the loss, which are passed on whole.
    configs = [default.get_config(), *(module.get_config() for module in (cflow, fastflow, padim, spade))]
    for key in {key for config in configs for key, _ in flat(config)}:
        section, _, name = key.rpartition(".")
        if section == "detector":
            pattern = rf"\b{name}: |settings\.pop\(\"{name}\"\)"
        elif section == "loss":
            pattern = rf"\b{name}: jax\.Array|\b{name}=|\"{name}\""
        elif key.startswith("data.") and name in Transform._fields:  # read by its fields' names
            continue
        else:
            pattern = rf"\b(config|{section})\.{name}\b"
        assert re.search(pattern, source), f"config.{key} is read nowhere"


def test_a_run_of_before_a_key_can_still_be_read():
    config = default.get_config()
    model = build_model(config, 1)
    del config.backbone["mean"], config.backbone["std"]
    assert build_model(config, 1).levels.weights_hash == model.levels.weights_hash
    del config.backbone["equalize"], config.backbone["neighbours"]
    config_of_then = default.get_config()
    config_of_then.backbone.update(default.PLAIN)
    assert build_model(config, 1).levels.weights_hash == build_model(config_of_then, 1).levels.weights_hash


def refused(changes):
    config = tiny_config("data", **{key.replace(".", "__"): value for key, value in changes.items()})
    with pytest.raises(UserError) as error:
        validate(config, num_devices=8)
    return str(error.value).splitlines()


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("scoring.protocol", "papre", "'papre', expected one of 'calibrated', 'paper'"),
        ("scoring.classes", "known", "'known', expected one of 'inferred', 'mixture', 'given'"),
        ("cache.dtype", "float16", "'float16', expected one of 'float32', 'bfloat16'"),
        ("detector.name", "msflow", "'msflow', expected one of 'hgad', 'cflow'"),
        ("data.image_size", 8, "8, expected at least 32"),
        ("data.resize", "crop", "'crop', expected one of 'squash', 'short_side_crop', 'letterbox'"),
        ("data.on_error", "warn", "'warn', expected one of 'raise', 'skip'"),
        ("data.classes", "kmeans", "'kmeans', expected 'given'"),
        ("data.tile_overlap", 0.6, "0.6, expected at most 0.5"),
        ("detector.num_blocks", 0, "0, expected at least 1"),
        ("detector.condition_channels", 6, "6, expected a multiple of 4"),
        ("detector.hidden_ratio", 0.0, "0.0, expected at least 0.001"),
        ("train.epochs", -1.0, "-1.0, expected at least 0"),
        ("train.epochs", float("inf"), "inf, expected at most 1000000.0"),
        ("train.stage_two_epoch", float("inf"), "inf, expected at most 1000000.0"),
        ("train.clip_norm", -1.0, "-1.0, expected at least 0"),
        ("train.checkpoint_every", 0, "0, expected at least 1"),
        ("calibration.fraction", 0.6, "0.6, expected at most 0.5"),
        ("calibration.min_images", 1, "1, expected at least 2"),
        ("calibration.false_alarm_rate", 0.0, "0.0, expected at least 1e-09"),
        ("calibration.false_alarm_rate", 0.9, "0.9, expected at most 0.5"),
        ("calibration.threshold_per", "image", "'image', expected one of 'class', 'model'"),
        ("calibration.pixel_rate", -0.1, "-0.1, expected at least 0"),
        ("scoring.image_map", "sum", "'sum', expected one of 'plain', 'level', 'position'"),
        ("scoring.threshold", "high", "'high', expected 'conformal' or a finite number"),
        ("scoring.threshold", "nan", "'nan', expected 'conformal' or a finite number"),
        ("scoring.ordinary_fraction", 1.5, "1.5, expected at most 1"),
        ("scoring.top_fraction", 2.0, "2.0, expected at most 1"),
        ("train.batch_size", 12, "12, expected a multiple of the 8 devices"),
        ("train.learning_rate", float("nan"), "nan, expected at least 0"),
        ("backbone.mean", (0.5,), "(0.5,), expected () or three numbers"),
        ("backbone.equalize", -0.1, "-0.1, expected at least 0"),
        ("backbone.neighbours", (3, 2), "(3, 2), expected odd numbers"),
        ("backbone.scales", (1, 0), "(1, 0), expected whole numbers from 1 on"),
        ("backbone.scales", (1, 1.5), "(1, 1.5), expected whole numbers from 1 on"),
        ("backbone.std", (0.2, 0.2, 0.0), "(0.2, 0.2, 0.0), expected () or three numbers"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(key, value, expected):
    (line,) = refused({key: value})
    assert line.startswith(f"config.{key} is {expected}")


def test_a_negative_seed_is_refused():
    config = tiny_config("data")
    config.seed = -1
    with pytest.raises(UserError, match=r"config\.seed is -1, expected at least 0"):
        validate(config, num_devices=1)


def test_patience_without_a_best_state_is_refused():
    (line,) = refused({"train.patience": 3.0, "train.keep": "last"})
    assert line.startswith("config.train.patience is 3.0, expected 0 with train.keep='last'")


@pytest.mark.parametrize("name", ["cflow", "padim"])
def test_a_detector_with_the_keys_of_another_is_refused_with_where_its_own_are(name):
    (line,) = refused({"detector.name": name})
    assert line.startswith(f"config.detector.name is '{name}', but other keys of this config are of another")
    assert f"--config=configs/{name}_folder.py" in line
    assert (ROOT / "configs" / f"{name}_folder.py").exists()


@pytest.mark.parametrize("module", [cflow, fastflow, padim, spade])
def test_a_mixture_over_classes_is_refused_before_the_training(module):
    config = module.get_config(dataset="folder")
    config.scoring.classes = "mixture"
    with pytest.raises(
        UserError, match=r"^config\.scoring\.classes is 'mixture', expected 'inferred' or 'given'"
    ):
        validate(config, num_devices=1)


def test_only_classes_with_centres_need_a_channel_each():
    """HGAD's lie on axes of the latent space."""
    with pytest.raises(
        UserError, match=r"41 classes, but the level of 8×8 positions .* has only 40 channels"
    ):
        build_model(tiny_config("data", backbone__taps=("blocks.2",)), 41)
    config = padim.get_config(dataset="folder")
    config.backbone.taps, config.data.image_size = ("blocks.2",), 64
    assert build_model(config, 41).num_classes == 41


def test_wrong_values_are_reported_together():
    changes = {"train.epochs": -1.0, "scoring.protocol": "papre", "calibration.fraction": 0.9}
    lines = refused(changes)
    assert len(lines) == 3
    for key in changes:
        assert any(line.startswith(f"config.{key} is ") for line in lines)
