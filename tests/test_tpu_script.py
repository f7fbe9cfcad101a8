"""`scripts/tpu.sh`: what its dry run says it would do, and in which order."""

import os
import subprocess

import pytest
from trees import ROOT

from hgad_jax.cli.main import COMMANDS

SCRIPT = ROOT / "scripts" / "tpu.sh"
GIVEN = {"PROJECT": "p", "ZONE": "z", "BUCKET": "b", "RUN": "r"}


def run(*arguments, path=None, dry="1", **more):
    environment = {"PATH": path or os.environ["PATH"], "DRY_RUN": dry, **GIVEN, **more}
    return subprocess.run(
        ["bash", str(SCRIPT), *arguments], env=environment, capture_output=True, text=True, cwd=ROOT
    )


def steps(text):
    """The commands of a dry run, each a list of words as bash reads them."""
    found = []
    for line in text.splitlines():
        if line.startswith("+ "):
            words = subprocess.run(
                ["bash", "-c", f"printf '%s\\0' {line[2:]}"], capture_output=True, text=True, check=True
            )
            found.append(words.stdout.split("\0")[:-1])
    return found


def position(found, *words):
    places = [i for i, step in enumerate(found) if all(any(w in part for part in step) for w in words)]
    assert places, words
    return places[0]


def test_the_order_of_a_dry_run():
    done = run("--config=hgad_mvtec_ad:paper", BACKBONE="tf_efficientnet_b6.aa_in1k")
    assert done.returncode == 0, done.stderr
    found = steps(done.stdout)
    order = [
        position(found, "create"),
        position(found, "git", "archive"),
        position(found, "scp", "--worker=all"),
        position(found, "version_info < (3, 11)", "uv venv"),
        position(found, "gcsfuse"),
        position(found, "fetch tf_efficientnet_b6.aa_in1k"),
        position(found, "hgad_jax train --config=hgad_mvtec_ad:paper", "--workdir=/mnt/gs/b/r"),
        position(found, "hgad_jax eval", "--report"),
        position(found, "scp", "r/eval", "results/r"),
        position(found, "delete"),
    ]
    assert order == sorted(order)
    assert order[-1] == len(found) - 1, "nothing after the slice is deleted"
    for name in ("fetch", "train", "eval"):
        assert name in COMMANDS


def test_python_is_made_sure_of_before_anything_is_installed():
    found = steps(run("--config=c").stdout)
    (install,) = [step for step in found if any(".[tpu]" in part for part in step)]
    command = next(part for part in install if part.startswith("--command="))
    assert command.index("uv venv") < command.index("assert sys.version_info >= (3, 11)")
    assert command.index("assert sys.version_info") < command.index("pip install --quiet -e")
    assert subprocess.run(["bash", "-n", "-c", command.removeprefix("--command=")]).returncode == 0


@pytest.mark.parametrize(("queued", "word"), [("1", "queued-resources"), ("0", "tpu-vm")])
def test_what_is_created_is_what_is_deleted(queued, word):
    found = steps(run("--config=c", QUEUED=queued).stdout)
    created = next(step for step in found if "create" in step)
    assert found[-1][: found[-1].index("delete")] == created[: created.index("create")]
    assert word in created
    assert not any("fetch" in part for step in found for part in step)


def test_what_is_kept_is_not_deleted():
    done = run("--config=c", KEEP="1")
    assert "delete" not in steps(done.stdout.partition("The slice is still there")[0])[-1]
    assert "costs money" in done.stdout


def test_without_its_settings_nothing_is_begun():
    done = run(PROJECT="")
    assert done.returncode
    assert "the project that pays" in done.stderr
    assert not done.stdout


@pytest.mark.parametrize(
    ("fails_at", "deleted"), [("hgad_jax train", True), ("hgad_jax eval", False), ("--recurse", False)]
)
def test_a_slice_with_results_that_are_not_here_is_not_deleted(tmp_path, fails_at, deleted):
    """With a gcloud that does nothing, and fails at one step."""
    gcloud = tmp_path / "gcloud"
    gcloud.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\ncase "$*" in *"{fails_at}"*) exit 1;; esac\n'
        'case "$*" in *describe*) echo ACTIVE;; esac\n'
    )
    gcloud.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = run("--config=c", path=path, dry="", OUT=str(tmp_path / "results"))
    assert done.returncode == 1
    calls = (tmp_path / "calls").read_text()
    assert (" delete " in calls) == deleted
    assert ("To delete it" in done.stdout) != deleted
