"""Each RUN line of deploy/Dockerfile, run in a folder that stands for the image; what comes out serves.

No container engine is needed, and none proves here that an image can be built: the base image, the users and
the layers are not tested, the commands are.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
from recipe import cuda, placed, read, stages
from served import TOKEN, post
from trees import ROOT, add_class, crop, save, tiny_config

from hgad_jax import load
from hgad_jax.exporting.export import export
from hgad_jax.training.loop import train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="gives files to the user of the image, as root alone can"),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    place = tmp_path_factory.mktemp("model")
    add_class(place / "data", "brick")
    train(tiny_config(place / "data", train__epochs=1.0), place / "run")
    export(place / "run", place / "models" / "current", log=lambda line: None)
    return place


def run(words, root, folder):
    """A command of the image, its paths below `root`, with nothing of this environment."""
    environment = {"PATH": f"{root}/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(root)}
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_CONFIG_FILE", "PIP_CERT", "SSL_CERT_FILE"):
        if name in os.environ:
            environment[name] = os.environ[name]
    done = subprocess.run(
        ["sh", "-c", placed(words, root)], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """What stands for the image: the lines of the target cpu, in their order."""
    root = tmp_path_factory.mktemp("image")
    source = root / "src"
    for folder in ("bin", "etc", "var/cache", "src"):
        (root / folder).mkdir(parents=True)
    (root / "bin" / "python").symlink_to(sys.executable)
    for name in ("passwd", "group", "shadow", "gshadow"):
        shutil.copy(f"/etc/{name}", root / "etc" / name)
    for line in stages("cpu"):
        if line.name == "COPY" and not line.text.startswith("--from"):
            *parts, target = line.text.split()
            for part in parts:
                copy(ROOT / part, source / target if len(parts) == 1 else source / part)
        elif line.name == "RUN":
            run(line.text, root, source)
    return root


def copy(path, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        shutil.copytree(path, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(path, target)


def test_the_user_is_in_the_image_and_may_write_to_the_cache_alone(image):
    (user,) = [line for line in (image / "etc/passwd").read_text().splitlines() if line.startswith("hgad:")]
    assert user.split(":")[2:4] == ["10001", "10001"]
    assert user.endswith("/usr/sbin/nologin")
    state = (image / "var/cache/hgad").stat()
    assert (state.st_uid, state.st_gid, state.st_mode & 0o777) == (10001, 10001, 0o750)
    assert (image / "opt/hgad/bin/hgad-jax").stat().st_uid == 0


def test_nothing_that_training_needs_is_in_it(image):
    listed = subprocess.run(
        [image / "opt/hgad/bin/python", "-m", "pip", "list", "--format=json"], capture_output=True, check=True
    )
    names = {package["name"].lower().replace("_", "-") for package in json.loads(listed.stdout)}
    assert names >= {"hgad-jax", "jax", "fastapi"}
    assert not names & {"flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "grain", "scikit-learn"}


def test_the_command_of_the_image_serves_and_its_health_check_says_so(image, model):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    lines = {line.name: line.text for line in stages("cpu")}
    command = [*json.loads(lines["ENTRYPOINT"]), *json.loads(lines["CMD"]), f"--port={port}"]
    command = [word.replace("/models", str(model / "models")) for word in command]
    settings = dict(pair.split("=", 1) for pair in placed(lines["ENV"], image).split())
    settings["PATH"] = settings["PATH"].replace("$PATH", "/usr/bin:/bin")
    check = json.loads(lines["HEALTHCHECK"].split("CMD ", 1)[1].replace(":8000", f":{port}"))
    refused = subprocess.run(command, env=settings, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "lets other machines in, and there is no token" in refused.stderr
    with subprocess.Popen(
        command, env=settings | {"HGAD_JAX_TOKEN": TOKEN}, stderr=subprocess.PIPE
    ) as server:
        try:
            assert subprocess.run(check, env=settings, capture_output=True).returncode == 1, "not ready yet"
            wait(f"http://127.0.0.1:{port}/readyz", server)
            assert subprocess.run(check, env=settings, capture_output=True).returncode == 0
            part = save(model / "new.png", crop("brick", np.random.default_rng(3)))
            answer = post(
                f"http://127.0.0.1:{port}/v1/predict",
                part.read_bytes(),
                headers={"Authorization": f"Bearer {TOKEN}"},
            )
        finally:
            server.terminate()
            server.communicate()
    (found,) = answer.json["results"]
    expected = load(model / "models" / "current")(part)
    assert found["score"] == pytest.approx(expected.score, rel=1e-6)
    assert found["anomalous"] == expected.anomalous
    assert server.returncode == 0, "it ends by SIGTERM"


def wait(url, process):
    while process.poll() is None:
        try:
            with urllib.request.urlopen(url) as answer:
                assert answer.status == 200
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.5)
    raise AssertionError("the server has ended")


def test_what_cuda_asks_for_can_be_had(image):
    """Its lines are the CPU's but for one, which is resolved and not installed: it is 3 GB."""
    found = cuda()
    assert [line.text for line in read() if line.name == "RUN"].count(found) == 1
    run(found.replace("pip install", "pip install --dry-run --quiet"), image, image)
