"""The configs themselves, and the check of their values."""

import importlib.util
import json
import math
import re
import subprocess
import sys

import ml_collections
import pytest
from trees import ROOT, tiny_config

from hgad_jax.config import EXPERIMENTS, RECIPES, completed, get_config, validate
from hgad_jax.config.common import COMMON
from hgad_jax.config.recipe import LITE, keys
from hgad_jax.config.words import CLASSES
from hgad_jax.data.datasets import btad, mvtec_3d_rgb, mvtec_ad, stc, visa
from hgad_jax.data.geometry import Transform
from hgad_jax.errors import UserError
from hgad_jax.runs.model import build_model
from hgad_jax.runs.workdir import load_config


def flat(config, prefix=""):
    for key, value in config.items():
        if hasattr(value, "items"):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def words_of(experiment):
    """Every preset alone, every backbone, every class, and some together."""
    recipe = RECIPES[EXPERIMENTS[experiment].detector]
    presets = ["", "default", *recipe.presets, ",".join(recipe.presets)]
    return [*presets, *recipe.backbones, *(f"{c},default" for c in CLASSES[EXPERIMENTS[experiment].dataset])]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_preset_backbone_and_class_of_every_experiment(name):
    experiment = EXPERIMENTS[name]
    recipe, classes = RECIPES[experiment.detector], CLASSES[experiment.dataset]
    expected = {"seed", *(f"{section}.{key}" for section, of in keys(recipe).items() for key in of)}
    for words in words_of(name):
        config = get_config(name, words)
        validate(config, num_devices=1)
        validate(config, num_devices=8)
        assert dict(flat(config)).keys() == expected, "no preset adds a key"
        assert config.data.name == experiment.dataset
        named = words.split(",")[0]
        assert config.data.class_name == (named if named in classes else "")
        if named in recipe.backbones:
            if "dinov2" in named:
                assert config.data.image_size % 14 == 0
                assert all(config.data.image_size % (14 * scale) == 0 for scale in config.backbone.scales)
                assert ("reg4" in config.backbone.name) == named.endswith("_reg")
            else:
                assert config.backbone.name.startswith(named.split("_large")[0].split("deit")[0])
            assert config.backbone.source == "cache"
        if experiment.detector != "hgad":
            assert config.backbone.equalize == 0, "published with maps as the backbone gives them"
            joined = config.detector.get("join", False)  # PatchCore as published
            assert tuple(config.backbone.neighbours) == ((3, 3) if joined else ())
        assert (config.detector.get("base", "standard") == "trainable") == ("altub" in words)
        if name.startswith("uflow"):
            assert config.detector.condition_channels == 0
    with pytest.raises(UserError, match="'nope', after the colon of --config, is not known"):
        get_config(name, "nope")


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.py")), ids=lambda path: path.stem)
def test_every_file_of_configs_is_the_experiment_of_its_name(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.get_config().to_dict() == get_config(path.stem).to_dict()
    assert module.get_config("default").to_dict() == get_config(f"{path.stem}:default").to_dict()
    assert f"--config=configs/{path.name}" in module.__doc__, "its command"


def test_every_experiment_has_its_file():
    assert {path.stem for path in (ROOT / "configs").glob("*.py")} == set(EXPERIMENTS)


def test_classes_are_those_of_the_datasets():
    for name, module in {
        "mvtec_ad": mvtec_ad,
        "btad": btad,
        "mvtec_3d_rgb": mvtec_3d_rgb,
        "visa": visa,
    }.items():
        assert CLASSES[name] == tuple(module.PUBLISHED)
    assert CLASSES["stc"] == stc.STC.spec.classes
    assert len(set(CLASSES["union"])) == 40


def test_an_unknown_experiment_is_refused_with_those_like_it():
    with pytest.raises(UserError, match=r"no file and no experiment\. Did you mean hgad_folder"):
        get_config("hgad_foldr")


def test_two_backbones_are_refused():
    with pytest.raises(UserError, match=r"Two words for one backbone .*: resnet18, deit"):
        get_config("fastflow_folder:resnet18,paper,deit")


def test_an_experiment_is_found_by_its_name_on_the_command_line(tmp_path):
    """From any folder; what comes after it is refused, so that nothing is trained."""
    for config in (["--config=cflow_folder:altub"], ["--config", "cflow_folder:altub"]):
        command = [sys.executable, ROOT / "train.py", *config, "--config.train.epochs=-1.0", "--workdir=run"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 2, done.stderr
        assert "config.train.epochs is -1.0, expected at least 0 and at most 1e+06" in done.stderr
    assert not list(tmp_path.iterdir())


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
    config = dict(flat(get_config(f"{name}_mvtec_ad")))
    assert {key: config[key] for key in PAPERS[name]} == PAPERS[name]


def test_published_normalisation_of_cflow():
    """That of ImageNet, but on one dataset."""
    assert get_config("cflow_stc:01").backbone.std == (0.225,) * 3
    assert get_config("cflow_stc:01").backbone.mean == (0.5,) * 3
    assert get_config("cflow_stc:tf_efficientnet_lite0").backbone.mean == ()
    assert get_config("cflow_mvtec_ad:screw").backbone.mean == ()


def test_published_input_sizes_of_cflow():
    sizes = {c: get_config("cflow_mvtec_ad", c).data.image_size for c in CLASSES["mvtec_ad"]}
    assert [c for c, size in sizes.items() if size == 128] == ["transistor"]
    medium = [c for c, size in sizes.items() if size == 256]
    assert medium == ["cable", "capsule", "hazelnut", "metal_nut", "pill"]
    assert sizes["screw"] == 512


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
    "scoring.map_size": 256,
    "calibration.fraction": 0.0,
}


def test_paper_preset_holds_the_published_values():
    config = dict(flat(get_config("hgad_folder:paper")))
    assert {key: config[key] for key in PUBLISHED} == PUBLISHED
    assert config["train.warmup_start"] * config["train.learning_rate"] == pytest.approx(2e-5)


def test_published_backbone_of_hgad():
    for words in ("paper", "paper,tf_efficientnet_b6"):
        backbone = get_config(f"hgad_mvtec_ad:{words}").backbone
        assert (backbone.name, backbone.source) == ("tf_efficientnet_b6.aa_in1k", "cache")
        assert (backbone.taps, backbone.scales) == (("blocks.4",), (1, 2, 4))


@pytest.mark.parametrize("name", ["hgad", "cflow", "fastflow", "padim", "spade", "patchcore"])
def test_the_backbone_without_a_download_is_an_explicit_word_of_the_published_settings(name):
    assert get_config(f"{name}_folder:paper").backbone.name not in ("", LITE)
    assert get_config(f"{name}_folder:paper,{LITE}").backbone.name == LITE
    assert get_config(f"{name}_folder").backbone.name == LITE


def test_an_unknown_preset_is_refused_with_the_known_ones():
    with pytest.raises(
        UserError, match=r"'quick', .* is not known\. Known are preset: default, paper, text; backbone"
    ):
        get_config("hgad_elpv", "quick")


def test_every_key_is_read_by_the_package():
    source = "\n".join(
        path.read_text() for path in (ROOT / "hgad_jax").rglob("*.py") if path.parent.name != "config"
    )
    # Alone, or as a hyper-parameter of the detector or a weight of the loss, which are passed on whole.
    for key in {key for name in RECIPES for key, _ in flat(get_config(f"{name}_folder"))}:
        section, _, name = key.rpartition(".")
        if section == "detector":
            pattern = rf"\b{name}: |settings\.pop\(\"{name}\"\)"
        elif section == "loss":
            pattern = rf"\b{name}: jax\.Array|\b{name}=|\"{name}\""
        elif section == "altub":  # by the name that the detector gives it
            pattern = rf"\bkeys\.{name}\b"
        elif key.startswith("data.") and name in Transform._fields:  # read by its fields' names
            continue
        else:
            pattern = rf"\b(config|{section})\.{name}\b"
        assert re.search(pattern, source), f"config.{key} is read nowhere"


def test_a_run_of_before_a_key_does_what_it_then_did(tmp_path):
    stored = get_config("hgad_folder").to_dict()
    del stored["backbone"]["equalize"], stored["backbone"]["neighbours"], stored["backbone"]["mean"]
    expected = get_config("hgad_folder")
    expected.backbone.update(equalize=0.0, neighbours=())
    assert completed(stored)["backbone"] == ml_collections.ConfigDict(expected).backbone.to_dict() | {
        "neighbours": [],
        "mean": [],
    }
    (tmp_path / "config.json").write_text(json.dumps(stored))
    read = load_config(tmp_path)
    assert (read.backbone.equalize, list(read.backbone.neighbours)) == (0.0, [])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            lambda c: c["train"].update(epochs="many"),
            r"config\.train\.epochs is 'many', expected a finite number",
        ),
        (lambda c: c.pop("train"), r"config\.train\.\w+ is missing"),
        (lambda c: c["train"].update(epoch=3), r"config\.train\.epoch is no key of a config for hgad"),
        (lambda c: c.update(train=3), r"config\.train is 3, expected a section of keys"),
        (lambda c: c.pop("detector"), r"config\.detector\.name is None, expected one of"),
    ],
)
def test_a_stored_config_that_was_edited_is_refused_with_the_key(change, expected, tmp_path):
    stored = get_config("hgad_folder").to_dict()
    change(stored)
    (tmp_path / "config.json").write_text(json.dumps(stored))
    with pytest.raises(UserError, match=rf"config\.json: {expected}"):
        load_config(tmp_path)


NUMBERS = sorted(
    (name, section, key)
    for name, recipe in RECIPES.items()
    for section, of_section in (keys(recipe) if name == "hgad" else recipe.sections).items()
    for key, entry in of_section.items()
    if isinstance(entry.default, int | float) and not isinstance(entry.default, bool)
)


@pytest.mark.parametrize(("name", "section", "key"), NUMBERS)
def test_no_key_takes_what_is_no_number_or_out_of_range(name, section, key):
    for value in (math.nan, math.inf, -math.inf, -1e12, 1e12, "many", True):
        config = get_config(f"{name}_folder").to_dict()
        config[section][key] = value
        with pytest.raises(UserError, match=rf"^config\.{section}\.{key} is {value!r}, expected "):
            validate(ml_collections.ConfigDict(config), num_devices=1)


@pytest.mark.parametrize("name", RECIPES)
def test_every_key_says_what_it_is_and_its_default_passes(name):
    for section, of_section in keys(RECIPES[name]).items():
        for key, entry in of_section.items():
            assert entry.doc, f"{section}.{key}"
            assert entry.problem(entry.default) is None, f"{section}.{key}"
            assert entry.before is None or entry.problem(entry.before) is None


def test_the_page_of_keys_is_what_the_command_prints():
    done = subprocess.run(
        [sys.executable, "-m", "hgad_jax", "config"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert (ROOT / "docs" / "config.md").read_text().endswith(done.stdout), "hgad-jax config"
    assert all(f"`{section}.{key}`" in done.stdout for section, of in COMMON.items() for key in of)


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
        ("data.image_size", 8, "8, expected at least 32 and at most 16384"),
        ("data.resize", "crop", "'crop', expected one of 'squash', 'short_side_crop', 'letterbox'"),
        ("data.on_error", "warn", "'warn', expected one of 'raise', 'skip'"),
        ("data.classes", "kmeans", "'kmeans', expected 'given'"),
        ("data.tile_overlap", 0.6, "0.6, expected at least 0.05 and at most 0.5"),
        ("detector.num_blocks", 0, "0, expected at least 1"),
        ("detector.condition_channels", 6, "6, expected a multiple of 4 from 0 on"),
        ("detector.hidden_ratio", 0.0, "0.0, expected at least 0.001"),
        ("train.epochs", -1.0, "-1.0, expected at least 0"),
        ("train.epochs", float("inf"), "inf, expected a finite number"),
        ("train.stage_two_epoch", float("inf"), "inf, expected a finite number"),
        ("train.clip_norm", -1.0, "-1.0, expected at least 0"),
        ("train.checkpoint_every", 0, "0, expected at least 1"),
        ("calibration.fraction", 0.6, "0.6, expected at least 0 and at most 0.5"),
        ("calibration.min_images", 1, "1, expected at least 2"),
        ("calibration.false_alarm_rate", 0.0, "0.0, expected at least 1e-09"),
        ("calibration.false_alarm_rate", 0.9, "0.9, expected at least 1e-09 and at most 0.5"),
        (
            "calibration.class_rates",
            ("screw=2",),
            "('screw=2',), expected () or values of which each is CLASS=RATE",
        ),
        (
            "calibration.class_rates",
            ("0.02",),
            "('0.02',), expected () or values of which each is CLASS=RATE",
        ),
        ("scoring.threshold", "a=1,a=2", "'a=1,a=2', expected 'tail', 'conformal' or a finite number"),
        ("scoring.unknown", "maybe", "'maybe', expected one of 'reject', 'warn'"),
        ("scoring.min_area", -1.0, "-1.0, expected at least 0"),
        ("calibration.pixel_threshold", "map", "'map', expected one of 'image', 'pixels'"),
        ("calibration.threshold_per", "image", "'image', expected one of 'class', 'model'"),
        ("calibration.pixel_rate", -0.1, "-0.1, expected at least 0"),
        ("scoring.image_map", "sum", "'sum', expected one of 'plain', 'level', 'position'"),
        ("scoring.threshold", "high", "'high', expected 'tail', 'conformal' or a finite number"),
        ("scoring.threshold", "nan", "'nan', expected 'tail', 'conformal' or a finite number"),
        ("scoring.ordinary_fraction", 1.5, "1.5, expected at least 0 and at most 1"),
        ("scoring.top_fraction", 2.0, "2.0, expected at least 0 and at most 1"),
        ("train.batch_size", 12, "12, expected a multiple of the 8 devices"),
        ("train.learning_rate", float("nan"), "nan, expected a finite number"),
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
    assert f"--config={name}_folder" in line
    assert (ROOT / "configs" / f"{name}_folder.py").exists()


@pytest.mark.parametrize("name", ["cflow", "fastflow", "padim", "spade"])
def test_a_mixture_over_classes_is_refused_before_the_training(name):
    config = get_config(f"{name}_folder")
    config.scoring.classes = "mixture"
    with pytest.raises(
        UserError, match=r"^config\.scoring\.classes is 'mixture', expected 'inferred' or 'given'"
    ):
        validate(config, num_devices=1)


@pytest.mark.parametrize("name", ["cflow", "fastflow", "padim", "spade"])
def test_one_term_alone_is_of_a_score_that_has_two(name):
    config = get_config(f"{name}_folder")
    config.scoring.terms = "entropy"
    with pytest.raises(UserError, match=r"^config\.scoring\.terms is 'entropy', expected 'both': the publ"):
        validate(config, num_devices=1)


def test_only_classes_with_centres_need_a_channel_each():
    """HGAD's lie on axes of the latent space."""
    with pytest.raises(
        UserError, match=r"41 classes, but the level of 8×8 positions .* has only 40 channels"
    ):
        build_model(tiny_config("data", backbone__taps=("blocks.2",)), 41)
    config = get_config("padim_folder")
    config.backbone.taps, config.data.image_size = ("blocks.2",), 64
    assert build_model(config, 41).num_classes == 41


def test_wrong_values_are_reported_together():
    changes = {"train.epochs": -1.0, "scoring.protocol": "papre", "calibration.fraction": 0.9}
    lines = refused(changes)
    assert len(lines) == 3
    for key in changes:
        assert any(line.startswith(f"config.{key} is ") for line in lines)


def changed(name, *words):
    """What words change in an experiment beside its preset `paper`."""
    before, after = (dict(flat(get_config(name, ",".join(w)))) for w in (("paper",), words))
    return {key: value for key, value in after.items() if before[key] != value}


def test_u_flow_has_the_size_of_its_table_for_all_classes():
    for class_name in CLASSES["mvtec_ad"]:
        assert get_config("uflow_mvtec_ad", class_name).data.image_size == 512
    assert get_config("uflow_mvtec_ad", "default").data.image_size == 256
    assert get_config("cflow_mvtec_ad", "transistor").data.image_size == 128


def test_the_text_of_cflow():
    assert changed("cflow_mvtec_ad", "text") == {
        "detector.fibre": 8192,
        "loss.likelihood": 1.0,
        "loss.log_sigmoid": 0.0,
        "altub.start_epoch": 2.0,
        "train.epochs": 100.0,
        "train.warmup_epochs": 2.0,
        "train.hold_epochs": 1.0,
    }


def test_the_text_of_hgad():
    assert changed("hgad_mvtec_ad", "text") == {
        "detector.fixed_scale": True,
        "detector.label_smoothing": 0.0,
        "loss.log_sigmoid": 0.0,
        "train.epochs": 100.0,
        "train.stage_two_epoch": 8.0,
        "train.warmup_epochs": 8.0,
        "train.hold_epochs": 4.0,
    }


def test_settings_of_altub():
    """Seed 25, the window from epoch 100 on, one penalty for all; FastFlow's gradients are clipped."""
    seed = {"seed": 25, "detector.base": "trainable", "altub.decayed": True}
    assert changed("fastflow_mvtec_ad", "paper", "altub") == seed | {"eval.window": (100.0, 300.0)}
    assert changed("fastflow_btad", "altub") == seed | {"eval.window": (100.0, 300.0)}
    assert changed("cflow_mvtec_ad", "altub") == seed | {"eval.window": (100.0, 200.0)}
    assert changed("cflow_stc", "altub") == seed, "not measured there"
    default = get_config("fastflow_folder:altub")
    assert (default.seed, default.altub.decayed, default.eval.window) == (0, False, ())
    clips = {d: get_config(f"{d}_folder:altub").altub.clip for d in ("cflow", "fastflow")}
    assert clips == {"cflow": 0.0, "fastflow": 100.0}


@pytest.mark.parametrize("name", ["cflow_folder", "cflow_mvtec_ad", "fastflow_folder", "fastflow_mvtec_ad"])
@pytest.mark.parametrize("words", ["altub", "paper,altub", "default,altub"])
def test_the_base_of_altub_is_trained_with_a_rate_of_five_hundredths(name, words):
    config = get_config(name, words)
    assert config.altub.rate_ratio * config.train.learning_rate == pytest.approx(0.05)
