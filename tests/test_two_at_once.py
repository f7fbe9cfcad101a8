"""Any two commands at once on the same folders: a lock or right results, never torn files."""

import csv
import functools
import hashlib
import http.server
import itertools
import json
import os
import re
import shutil
import subprocess
import threading
import time

import numpy as np
import pytest
import safetensors.numpy
import stub_backbone
from trees import PYTHON, ROOT, TINY, add_class, tiny_config

from hgad_jax.backbones.catalogue import choose
from hgad_jax.backbones.store import cached_file
from hgad_jax.cli import fetch
from hgad_jax.data import prepare
from hgad_jax.training.loop import train

pytestmark = pytest.mark.slow
COMMANDS = ("train", "eval", "predict", "check", "prepare", "fetch")
WAY_OUT = r"another process|Another \w+\.py writes"
NOT_FETCHED = r"not in the cache.* fetch "


@functools.cache
def published():
    """The stub's weights as a file of float32, which they are not kept in but which publishers' are."""
    state = safetensors.numpy.load_file(stub_backbone.WEIGHTS)
    return safetensors.numpy.save({name: value.astype(np.float32) for name, value in state.items()})


class Hub(http.server.BaseHTTPRequestHandler):
    """Serves the stub's weights, the last of them when others have had time to look for them."""

    def do_GET(self):
        content = published()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[:1000])
        time.sleep(2)
        self.wfile.write(content[1000:])

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def hub():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A class of MVTec AD, so that it can be prepared; and a folder as users have them."""
    root = tmp_path_factory.mktemp("images")
    add_class(root, "grass").rename(root / "grid")
    return root


@pytest.fixture(scope="module")
def made(tmp_path_factory, hub, images):
    """For a dataset's name, a folder with the cache and a run that has got half-way."""

    @functools.cache
    def make(dataset):
        place = tmp_path_factory.mktemp(dataset)
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv("HGAD_JAX_CACHE", str(place / "cache"))
            assert fetch.status([stub_backbone.NAME, f"--hub={hub}"]) == 0
            train(tiny_config(images, **settings(dataset, "__")), place / "run")
        steps = (path for path in (place / "run" / "checkpoints").iterdir() if path.name.isdigit())
        shutil.rmtree(max(steps, key=lambda path: int(path.name)))
        return place

    return make


def settings(dataset, between):
    own = {"train.epochs": 8.0, "backbone.source": "cache", "data.name": dataset, "data.allow_partial": True}
    return {key.replace(".", between): value for key, value in (TINY | own).items()}


def commands(dataset, images, place, hub):
    run, package = f"--workdir={place / 'run'}", str(ROOT / "hgad_jax" / "__main__.py")
    flags = [f"--config.{key}={value}" for key, value in settings(dataset, ".").items()]
    return {
        "train": ["train.py", "--config=hgad_folder", f"--config.data.root={images}", run, *flags],
        "eval": ["eval.py", run, "--bootstrap=0"],
        "predict": ["predict.py", run, f"--input={images / 'grid' / 'test'}", f"--out={place / 'out'}"],
        "check": [package, "check", str(images), f"--out={place / 'report.txt'}"],
        "prepare": [package, "prepare", "mvtec_ad", f"--root={images}", "--allow-partial"],
        "fetch": [package, "fetch", stub_backbone.NAME, f"--hub={hub}"],
    }


@pytest.mark.parametrize("names", list(itertools.combinations_with_replacement(COMMANDS, 2)), ids="-".join)
def test_a_pair(names, made, images, hub, tmp_path, monkeypatch):
    """What `prepare` and `fetch` are to bring is not there before, and others may ask for it first."""
    dataset = "mvtec_ad" if "prepare" in names else "folder"
    place = shutil.copytree(made(dataset), tmp_path / "place")
    for name, folder in (("prepare", "datasets"), ("fetch", "backbones")):
        if name in names:
            shutil.rmtree(place / "cache" / folder)
    monkeypatch.setenv("HGAD_JAX_CACHE", str(place / "cache"))
    started = [start(commands(dataset, images, place, hub)[name]) for name in names]
    ends = [(process.communicate()[1], process.returncode) for process in started]
    for said, status in ends:
        assert status in (0, 2), said
        assert "Traceback" not in said
        if status == 2:
            assert re.search(f"{WAY_OUT}|{NOT_FETCHED}" if "fetch" in names else WAY_OUT, said), said
    assert any(status == 0 for _, status in ends)
    finished = {name for name, (_, status) in zip(names, ends, strict=True) if status == 0}
    assert finished >= {"check", "prepare", "fetch"} & set(names), "these wait for each other"
    check_files(finished, images, place)


def start(command):
    alone = {key: value for key, value in os.environ.items() if key not in ("XLA_FLAGS", "PYTHONPATH")}
    return subprocess.Popen([*PYTHON, *command], cwd=ROOT, env=alone, stderr=subprocess.PIPE, text=True)


def check_files(finished, images, place):
    if "eval" in finished:
        assert json.loads((place / "run" / "eval" / "results.json").read_text())["mean"]
    if "predict" in finished:
        with (place / "out" / "scores.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == len({row["path"] for row in rows}) == 6
        assert all(None not in row.values() for row in rows)
    if "check" in finished:
        assert (place / "report.txt").read_text().endswith("\n")
    if "prepare" in finished:
        options = prepare.Options(prepared_dir=str(place / "cache" / "datasets"), allow_partial=True)
        dataset = prepare.load("mvtec_ad", options)
        assert [len(dataset.train), len(dataset.test)] == [12, 6]
    if "fetch" in finished:
        path, expected = cached_file(choose(stub_backbone.NAME))
        assert path.read_bytes() == published()
        assert hashlib.sha256(published()).hexdigest() == expected.sha256
    left = [path.name for path in place.rglob("*") if re.search(r"\.tmp$|^incomplete\.", path.name)]
    assert not left
