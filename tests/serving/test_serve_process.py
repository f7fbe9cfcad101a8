"""`hgad-jax serve` as a process of its own, on a trained run: what it refuses, its signals, its end."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import threading
import urllib.error
from pathlib import Path

import numpy as np
import pytest
from served import TOKEN, ask, post, until
from trees import PYTHON, ROOT, add_class, tiny_config

from hgad_jax import Predictor
from hgad_jax.errors import UserError
from hgad_jax.serving import server
from hgad_jax.serving.limits import Limits, checked
from hgad_jax.serving.models import Models, batch_of, named_paths
from hgad_jax.training.loop import train

CARRIED = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """With `images` and a `run` on two kinds of them."""
    found = tmp_path_factory.mktemp("serve")
    for name in ("brick", "grass"):
        add_class(found / "images", name, good=20)
    train(tiny_config(found / "images", train__epochs=1.0), found / "run")
    return found


class Process:
    """A server; `lines` grows with what it says."""

    def __init__(self, *arguments, token=TOKEN):
        environment = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", server.TOKEN)}
        environment |= {"PYTHONPATH": str(ROOT)} | ({server.TOKEN: token} if token else {})
        command = [*PYTHON, str(ROOT / "hgad_jax" / "__main__.py"), "serve", *map(str, arguments)]
        self.process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        self.lines: list[str] = []
        self._reader = threading.Thread(target=lambda: self.lines.extend(iter(self._line, "")))
        self._reader.start()

    def _line(self):
        return self.process.stderr.readline()

    @property
    def said(self):
        return "".join(self.lines)

    def wait_for(self, text):
        until(lambda: text in self.said or self.process.poll() is not None, seconds=300)
        assert text in self.said, self.said

    @property
    def url(self):
        self.wait_for("listening on ")
        return re.search(r"listening on (\S+);", self.said)[1]

    def end(self):
        status = self.process.wait()
        self._reader.join()
        self.process.stderr.close()
        return status


@contextlib.contextmanager
def serving(*arguments, **settings):
    found = Process("--port=0", *arguments, **settings)
    try:
        yield found
    finally:
        found.process.kill()
        found.end()


def images(place):
    return sorted((place / "images").rglob("test/*/*.png"))


def test_what_is_served_is_what_the_predictor_says_and_signals_are_heeded(place):
    with serving(f"--model=a={place / 'run'}", f"--model=b={place / 'run'}") as process:
        assert ask(f"{process.url}/healthz").status == 200
        process.wait_for("ready after")
        check_scores(process, place)
        process.process.send_signal(signal.SIGHUP)
        process.wait_for("model b is loaded anew: generation 2")
        answers, refused = asked_until_the_end(process, images(place)[0].read_bytes())
    assert process.process.returncode == 0, process.said
    assert "ended: all that was accepted is answered" in process.said
    assert set(answers) == {200}
    assert len(answers) > 20
    # Connections that the system had taken and the server had not yet are reset; requests are none of them.
    assert all(isinstance(error, ConnectionError) for error in refused), refused
    assert process.said.count("POST /v1/predict") == len(answers) + 1, "every request was answered"
    assert "Traceback" not in process.said
    assert TOKEN not in process.said


def test_thresholds_are_chosen_when_a_model_is_served(place):
    with serving(
        place / "run", "--threshold=brick=123.5", "--false_alarm_rate=grass=0.3", token=""
    ) as process:
        told = ask(f"{process.url}/v1/model").json
        brick, grass = told["thresholds"]
        assert brick["threshold"]["value"] == 123.5
        assert grass["asked"] == 0.3
        of_named = Predictor.load(place / "run", threshold="brick=123.5", false_alarm_rate="grass=0.3").scorer
        found = [one["threshold"]["value"] for one in told["thresholds_of_named"]]
        assert found == [threshold.value for threshold in of_named.given.thresholds]
    with serving(place / "run", "--false_alarm_rate=screw=0.3", token="") as process:
        process.wait_for("screw")
        assert process.process.wait() == 2


def check_scores(process, place):
    predictor = Predictor.load(place / "run")
    paths = images(place)
    answer = post(f"{process.url}/v1/predict?model=b", *(p.read_bytes() for p in paths), headers=CARRIED)
    assert len(answer.json["results"]) == len(paths) == 12
    for path, found in zip(paths, answer.json["results"], strict=True):
        expected = predictor(path)
        assert found["score"] == pytest.approx(expected.score, rel=1e-3, abs=1e-3)
        assert found["class_name"] == expected.class_name
        assert found["anomalous"] == expected.anomalous
        assert found["evidence"].keys() == expected.evidence.keys()
    told = ask(f"{process.url}/v1/model?model=a", headers=CARRIED).json
    for kind, threshold in zip(told["thresholds"], predictor.decision.thresholds, strict=True):
        assert kind["threshold"]["value"] == threshold.value
        of_curve = [point["threshold"] for point in kind["curve"]]
        assert min(of_curve) <= threshold.value <= max(of_curve)
        assert of_curve == sorted(of_curve, reverse=True)


def asked_until_the_end(process, image):
    """Statuses and errors of eight clients, who ask on and on while the server is told to end."""
    answers, errors = [], []

    def ask_on():
        while True:
            try:
                answers.append(post(f"{process.url}/v1/predict?model=a", image, headers=CARRIED).status)
            except urllib.error.URLError as error:
                errors.append(error.reason)
                return
            except OSError as error:
                errors.append(error)
                return

    asking = [threading.Thread(target=ask_on) for _ in range(8)]
    for thread in asking:
        thread.start()
    until(lambda: len(answers) > 20)
    process.process.send_signal(signal.SIGTERM)
    for thread in asking:
        thread.join()
    process.process.wait()
    return answers, errors


def test_a_server_that_is_ended_while_it_compiles(place):
    with serving(place / "run") as process:
        process.wait_for("listening on")
        process.process.send_signal(signal.SIGTERM)
        assert process.end() == 0, process.said


def test_what_is_watched_is_what_the_predictor_says(place, tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"} | {"PYTHONPATH": str(ROOT)}
    command = [*PYTHON, str(ROOT / "hgad_jax" / "__main__.py"), "watch", str(place / "run")]
    command += [str(place / "images"), f"--out={tmp_path / 'scores.jsonl'}", "--once", "--settle=0"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in (tmp_path / "scores.jsonl").read_text().splitlines()]
    paths = sorted((place / "images").rglob("*.png"))
    assert sorted(line["file"] for line in found) == [str(p.relative_to(place / "images")) for p in paths]
    assert f"ended: {len(paths)} images scored" in done.stderr
    predictor = Predictor.load(place / "run")
    for line in found[:6]:
        expected = predictor(place / "images" / line["file"])
        assert line["score"] == pytest.approx(expected.score, rel=1e-3, abs=1e-3)
        assert (line["class_name"], line["anomalous"]) == (expected.class_name, expected.anomalous)


def serve(place, paths=None, *, environment=None, **where):
    server.serve(
        paths or {"default": str(place / "run")},
        server.Place(**where),
        Limits(),
        log=lambda line: None,
        environment=environment or {},
    )


def test_a_port_that_is_taken(place):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"cannot listen on 127.0.0.1, port {port}.*--port"):
            serve(place, port=port)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.invalid"])
def test_other_machines_are_not_let_in_without_a_token(place, host):
    with pytest.raises(UserError, match=rf"--host={re.escape(host)} lets other machines in.*HGAD_JAX_TOKEN"):
        serve(place, host=host)


def test_an_address_that_is_not_of_this_machine(place):
    with pytest.raises(UserError, match=r"cannot listen on 192\.0\.2\.1"):
        serve(place, host="192.0.2.1", port=0, environment={server.TOKEN: TOKEN})


@pytest.mark.parametrize("token", ["", "short", "with a line\nof its own", "grüße-grüße-grüße"])
def test_a_token_that_can_be_guessed_or_not_be_sent(place, token):
    with pytest.raises(UserError, match="HGAD_JAX_TOKEN in the environment has"):
        serve(place, environment={server.TOKEN: token})


def test_a_path_that_is_no_run(place, tmp_path):
    for path in (tmp_path, tmp_path / "nowhere", place / "images"):
        with pytest.raises(UserError, match="holds no run"):
            serve(place, {"default": str(path)}, port=0)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (["runs/a"], {"default": "runs/a"}),
        (["a=runs/a", "b=runs/b"], {"a": "runs/a", "b": "runs/b"}),
        (["/x/lr=0.1/run"], {"default": "/x/lr=0.1/run"}),
    ],
)
def test_names_of_models(given, found):
    assert named_paths(given) == found


@pytest.mark.parametrize("given", [[], ["a", "b"], ["a=x", "a=y"], ["=x"], ["a="], [f"{'n' * 65}=x"]])
def test_names_that_cannot_be(given):
    with pytest.raises(UserError, match=r"--model=|hgad-jax serve RUN"):
        named_paths(given)


def test_limits_that_no_request_could_keep():
    with pytest.raises(UserError, match="--queue=8 holds fewer"):
        checked(Limits(queue=8, max_images=9))
    with pytest.raises(UserError, match="--timeout=0"):
        checked(Limits(timeout=0))


def test_batches_waste_little_and_lose_nothing():
    for waiting in range(1, 40):
        count, size = batch_of(waiting)
        assert 1 <= count <= min(waiting, size)
        assert size in (1, 2, 4, 8)
        assert size - count <= size / 4
    assert [batch_of(n) for n in (1, 3, 5, 6, 9)] == [(1, 1), (3, 4), (4, 4), (6, 8), (8, 8)]


def test_a_model_is_opened_from_its_own_path_only(place):
    models = Models({"a": str(place / "run")})
    before = models.get("a")
    after = models.reload("a")
    assert (before.generation, after.generation) == (1, 2)
    assert after.path == before.path == str(place / "run")
    assert np.isfinite(after.predictor(images(place)[0]).score)
    assert json.dumps(models.names) == '["a"]'
    assert Path(after.path).is_dir()
