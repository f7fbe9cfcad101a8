"""The two commands as a user types them: in a process of their own, from another folder."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from trees import ROOT, TINY, add_class

CONFIG = f"--config={ROOT}/configs/hgad_folder.py"
LITE0 = {"backbone.name": "tf_efficientnet_lite0", "backbone.source": "auto", "backbone.taps": ("blocks.4",)}
SMALL = TINY | LITE0 | {"train.epochs": 2.0}
SETTINGS = [f"--config.{key}={value}" for key, value in SMALL.items()]


def script(name, *arguments, cwd):
    """Exit status, standard output and standard error."""
    environment = {key: value for key, value in os.environ.items() if key not in ("XLA_FLAGS", "PYTHONPATH")}
    environment["JAX_PLATFORMS"] = "cpu"
    done = subprocess.run(
        [sys.executable, str(ROOT / name), *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stdout, done.stderr


def refused(name, *arguments, cwd, pattern):
    """It ends with status 2 and one message; returns that."""
    status, out, err = script(name, *arguments, cwd=cwd)
    assert status == 2, err
    assert "Traceback" not in err
    assert out == ""
    message = err[err.index("error: ") :]
    assert message.count("error: ") == 1, err
    assert re.search(pattern, message), message
    return message


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("scripts")
    for name in ("brick", "grass"):
        add_class(place / "images", name)
    return place


@pytest.fixture(scope="module")
def trained(place):
    """A run made by the script; folders are given relative to the current one."""
    arguments = [CONFIG, *SETTINGS, "--config.data.root=images", "--workdir=run"]
    status, out, err = script("train.py", *arguments, cwd=place)
    assert status == 0, err
    assert "2 class(es), 16 good images to train on, 8 to calibrate on" in err
    assert "4/4" in err, "a progress bar"
    assert "loss=" in err
    assert "Warning" not in err
    assert "WARNING" not in err
    return arguments, out


def test_train_then_evaluate_from_another_folder(trained, place, tmp_path):
    status, out, err = script("eval.py", f"--workdir={place / 'run'}", cwd=tmp_path)
    assert status == 0, err
    assert "Traceback" not in err
    assert "WARNING" not in err
    results = json.loads((place / "run" / "eval" / "results.json").read_text())
    assert results["protocol"] == "calibrated"
    for name, metrics in results["classes"].items():
        assert re.search(rf"^{name} +{metrics['image_auroc']:.4f}", out, re.M)
    assert re.search(rf"^mean +{results['mean']['image_auroc']:.4f}", out, re.M)


def test_eval_writes_a_report_and_takes_its_flags(trained, place, tmp_path):
    status, out, err = script(
        *("eval.py", f"--workdir={place / 'run'}", f"--out={tmp_path / 'out'}", "--report", "--bootstrap=7"),
        cwd=tmp_path,
    )
    assert status == 0, err
    assert "images resampled 7 times" in out
    assert f"Written to {tmp_path / 'out' / 'report.html'}" in out
    assert (tmp_path / "out" / "report.html").read_text(encoding="utf-8").endswith("</html>\n")
    refused("eval.py", "--workdir=run", "--bootstrap=-1", cwd=tmp_path, pattern="bootstrap")


def test_a_workdir_of_another_config_is_left_alone(trained, place):
    def state():
        files = (path for path in (place / "run").rglob("*") if path.is_file())
        return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in files}

    before = state()
    message = refused(
        *("train.py", *trained[0], "--config.seed=7", "--config.train.epochs=3.5"),
        cwd=place,
        pattern="run holds a run with another config; nothing was changed",
    )
    assert "config.seed: 0 there, 7 here" in message
    assert "config.train.epochs: 2.0 there, 3.5 here" in message
    assert state() == before


def test_a_checkpoint_that_is_cut_short(trained, place, tmp_path):
    shutil.copytree(place / "run", tmp_path / "run")
    largest = max((tmp_path / "run/checkpoints/4/params").rglob("*"), key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:1000])
    pattern = r"run/checkpoints/4: this checkpoint cannot be read .*1000 bytes, expected.*Move the folder"
    refused("eval.py", f"--workdir={tmp_path / 'run'}", cwd=tmp_path, pattern=pattern)
    cut = largest.read_bytes()
    arguments = [argument for argument in trained[0] if "root" not in argument and "workdir" not in argument]
    refused(
        *("train.py", *arguments, f"--config.data.root={place}/images", f"--workdir={tmp_path}/run"),
        cwd=tmp_path,
        pattern=pattern,
    )
    assert largest.read_bytes() == cut


def test_no_checkpoint(trained, place, tmp_path):
    (tmp_path / "run").mkdir()
    shutil.copy(place / "run" / "config.json", tmp_path / "run")
    refused("eval.py", "--workdir=run", cwd=tmp_path, pattern="run holds no checkpoint yet")


def test_a_missing_root_and_a_class_without_good_images(tmp_path):
    missing = f"--config.data.root={tmp_path}/nowhere"
    refused(
        *("train.py", CONFIG, missing, "--workdir=run"),
        cwd=tmp_path,
        pattern=r"nowhere' does not exist; --config\.data\.root",
    )
    add_class(tmp_path / "data", "brick", good=4, test=0)
    add_class(tmp_path / "data", "grass", good=0, test=1)
    refused(
        *("train.py", CONFIG, "--config.data.root=data", "--workdir=run"),
        cwd=tmp_path,
        pattern="class 'grass' has no good training images: none found in: '.*grass/train/good'",
    )
    assert not (tmp_path / "run").exists(), "nothing is made for a run that cannot start"


PARSING = {
    "unknown key": (["--config.train.nope=1"], r"--config\.train\.nope"),
    "misspelt key": (
        ["--config.train.epoch=1"],
        r"--config\.train\.epoch=1: unknown key\. Did you mean --config\.train\.epochs\?",
    ),
    "misspelt section": (["--config.trian.epochs=1"], r"Did you mean --config\.train\.epochs\?"),
    "another section": (
        ["--config.batch_size=4"],
        r"Did you mean --config\.scoring\.batch_size or --config\.train\.batch_size\?",
    ),
    "unknown section": (["--config.nope.x=1"], r"--config\.nope\.x"),
    "wrong type": (["--config.train.epochs=abc"], r"--config\.train\.epochs=abc"),
    "stray argument": (["epochs=3"], "Unexpected argument 'epochs=3'"),
    "unknown flag": (["--epochs=3"], r"There is no flag --epochs\. The flags are --config, --coordinator"),
    "misspelt flag": (["--num_process=3"], r"no flag --num_process\. Did you mean --num_processes\?"),
}


@pytest.mark.parametrize("case", PARSING)
def test_arguments_that_cannot_be_read(case, tmp_path):
    arguments, pattern = PARSING[case]
    refused("train.py", CONFIG, "--workdir=run", *arguments, cwd=tmp_path, pattern=pattern)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "flag", "meant"),
    [
        ("predict.py", "--heatmap", "--heatmaps"),
        ("predict.py", "--noheatmap", "--heatmaps"),
        ("predict.py", "--falsealarmrate=0.1", "--false_alarm_rate"),
        ("eval.py", "--bootstraps=9", "--bootstrap"),
    ],
)
def test_a_misspelt_flag_is_named_with_the_command_s_own_that_is_nearest(name, flag, meant, tmp_path):
    message = refused(name, "--workdir=run", flag, cwd=tmp_path, pattern=f"Did you mean {meant}\\?")
    assert "configs" not in message, "which this command has none of"
    assert not re.search("pdb|verbosity|flagfile|logtostderr", message), "flags of absl's own"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("def get_config(: pass", r"SyntaxError: invalid syntax"),
        ("def get_config(): return 1 / 0", "ZeroDivisionError: division by zero"),
        ("def get_config(): raise ValueError('oh')", "ValueError: oh"),
    ],
)
def test_a_config_of_the_users_own_that_cannot_be_read(content, said, tmp_path):
    (tmp_path / "mine.py").write_text(content)
    arguments = ["train.py", "--config=mine.py", "--workdir=run"]
    refused(*arguments, cwd=tmp_path, pattern=f"--config=mine.py: {said}")


def test_config_or_workdir_left_out(tmp_path):
    refused("train.py", CONFIG, cwd=tmp_path, pattern="--workdir")
    refused("train.py", "--workdir=run", cwd=tmp_path, pattern="--config")
    refused("eval.py", cwd=tmp_path, pattern="--workdir")


def test_config_that_is_not_there(tmp_path):
    refused("train.py", "--config=nope.py", "--workdir=run", cwd=tmp_path, pattern=r"nope\.py")
    refused(
        *("train.py", f"{CONFIG}:quick", "--workdir=run"),
        cwd=tmp_path,
        pattern=r"'quick', after the colon of --config, is not known\. Known are preset: default, paper",
    )
