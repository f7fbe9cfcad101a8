"""The files of deploy/: what they name is there, and commands in them are ones that hgad-jax has."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib

import pytest
import yaml
from recipe import read, stages
from trees import ROOT

from hgad_jax.serving.meters import meters

DEPLOY = ROOT / "deploy"


def yaml_of(name):
    return yaml.safe_load((DEPLOY / name).read_text())


@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_a_target_runs_as_nobody_and_is_checked(target):
    lines = {line.name: line.text for line in stages(target)}
    assert lines["USER"] == "10001:10001"
    assert "/readyz" in lines["HEALTHCHECK"]
    assert [line.name for line in stages(target)].index("USER") > 0
    copied = {
        line.text.split()[0] for line in stages(target) if line.name == "COPY" and "--from" in line.text
    }
    assert copied == {f"--from=build-{target}"}


def test_the_cpu_is_what_is_built_where_no_target_is_named():
    assert [line.text for line in read() if line.name == "FROM"][-1] == "base AS cpu"


def test_what_is_copied_is_there_and_let_through():
    let_through = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    for line in read():
        if line.name == "COPY" and "--from" not in line.text:
            for name in line.text.split()[:-1]:
                assert (ROOT / name).exists()
                assert f"!{name}" in let_through


def test_the_versions_are_those_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    of_package = [*project["dependencies"], *project["optional-dependencies"]["serve"]]
    asked = [line for line in (DEPLOY / "requirements.txt").read_text().splitlines() if line[0] != "#"]
    assert set(asked) <= set(of_package)
    (jax,) = [one for one in of_package if one.startswith("jax>")]
    lines = [line.text for line in read() if '"jax' in line.text]
    assert [re.findall(r'"(.*)"', line)[0].replace("[cuda12]", "") for line in lines] == [jax, jax]


def command_of(words):
    return [sys.executable, "-m", "hgad_jax", *words]


def test_the_commands_are_ones_that_serve_takes(tmp_path):
    """Each refuses the model that is not there, and nothing before it."""
    unit = (DEPLOY / "hgad-serve.service").read_text()
    of_unit = shlex.split(re.findall(r"^ExecStart=(.*)$", unit, re.M)[0])
    lines = {line.name: line.text for line in stages("cpu")}
    of_image = json.loads(lines["ENTRYPOINT"]) + json.loads(lines["CMD"])
    assert of_unit[0].endswith("/hgad-jax")
    for words in (of_unit[1:], of_image[1:]):
        words = [re.sub(r"^/(srv/hgad/)?models/current$", str(tmp_path / "none"), word) for word in words]
        words = [word for word in words if not word.startswith("--port")] + ["--port=0"]
        done = subprocess.run(
            command_of(words), capture_output=True, text=True, env={"HGAD_JAX_TOKEN": "x" * 16}, cwd=ROOT
        )
        assert done.returncode == 2
        assert "none holds no run" in done.stderr


def test_the_unit_is_one(tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    unit = (DEPLOY / "hgad-serve.service").read_text().replace("/opt/hgad/bin/hgad-jax", sys.executable)
    path = tmp_path / "hgad-serve.service"
    path.write_text(unit)
    done = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_prometheus_asks_who_is_there_for_what_there_is():
    compose, asked, alerts = yaml_of("compose.yaml"), yaml_of("prometheus.yml"), yaml_of("alerts.yml")
    (job,) = asked["scrape_configs"]
    ((address,),) = [one["targets"] for one in job["static_configs"]]
    assert address.split(":")[0] in compose["services"]
    assert job["authorization"]["credentials_file"] == "/run/secrets/token"
    for config in compose["configs"].values():
        assert (DEPLOY / config["file"]).exists()
    told = meters(lambda: 0, lambda: True)
    told.requests.labels("a", "200").inc()
    told.scores.labels("m").observe(0.1)
    told.reloads.labels("m", "failed").inc()
    known = re.findall(r"^(\w+)[{ ]", told.text().decode(), re.M)
    used = [
        name for rule in alerts["groups"][0]["rules"] for name in re.findall(r"hgad_jax_\w+", rule["expr"])
    ]
    assert len(used) >= 4
    assert set(used) <= set(known)
