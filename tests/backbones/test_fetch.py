"""Fetching weights from a server on loopback: stored when whole and right, and not at all otherwise."""

import contextlib
import hashlib
import http.server
import json
import subprocess
import sys
import threading

import numpy as np
import pytest
from parity import rule

from hgad_jax.backbones import fetch as fetch_module
from hgad_jax.backbones import load
from hgad_jax.backbones.__main__ import main
from hgad_jax.backbones.catalogue import CATALOGUE, choose
from hgad_jax.backbones.store import record_path, stored_path
from hgad_jax.backbones.weights import expected_tensors
from hgad_jax.errors import UserError

NAME = "mobilenetv3_small_100.lamb_in1k"
HUB_PATH = f"/timm/{NAME}/resolve/main/model.safetensors"
TORCHVISION = "mobilenetv3_small_100.tv_in1k"


def safetensors(state):
    header, position = {}, 0
    for name, value in state.items():
        offsets = [position, position := position + value.nbytes]
        header[name] = {"dtype": "F32", "shape": value.shape, "data_offsets": offsets}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + b"".join(value.tobytes() for value in state.values())


@pytest.fixture(scope="module")
def weights():
    spec = CATALOGUE["mobilenetv3_small_100"].build()
    return safetensors(rule.state_dict(expected_tensors(spec, "timm")))


class Server(http.server.ThreadingHTTPServer):
    """Serves `files`, path -> bytes; announces `missing` bytes more than it sends; remembers the requests.

    Sends the first half, and the other when `until` is set.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.missing, self.requests = {}, 0, []
        self.asked, self.until = threading.Semaphore(0), threading.Event()
        self.until.set()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.path)
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "file:///etc/hostname")
            self.end_headers()
            return
        content = self.server.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content) + self.server.missing))
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # of a client that was killed
            self.wfile.write(content[: len(content) // 2])
            self.server.asked.release()
            self.server.until.wait()
            self.wfile.write(content[len(content) // 2 :])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv("HGAD_JAX_CACHE", str(tmp_path / "cache"))
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("HGAD_JAX_HUB", server.url)
        monkeypatch.setenv("HGAD_JAX_TORCHVISION", server.url)
        yield server
        server.shutdown()


def stored():
    folder = stored_path(choose(NAME)).parent
    names = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    return [name for name in names if not name.endswith(".lock")]


def refusal(name, capsys):
    assert main(["fetch", name]) == 2
    return capsys.readouterr().err


def test_fetched_weights_are_loaded_from_the_cache(server, weights):
    server.files[HUB_PATH] = weights
    assert main(["fetch", NAME]) == 0
    assert stored() == [f"{NAME}.safetensors", f"{NAME}.safetensors.sha256"]
    for source in ("cache", "auto"):
        backbone = load(NAME, taps=("stem",), source=source)
        assert backbone.weights_hash == hashlib.sha256(weights).hexdigest()


def test_second_fetch_downloads_nothing(server, weights, capsys):
    server.files[HUB_PATH] = weights
    main(["fetch", NAME])
    assert main(["fetch", NAME]) == 0
    assert server.requests == [HUB_PATH]
    assert "is there and unchanged" in capsys.readouterr().out


def test_hosts_can_be_given_as_flags(server, weights, monkeypatch):
    monkeypatch.setenv("HGAD_JAX_HUB", "http://127.0.0.1:9")
    server.files["/mirror" + HUB_PATH] = weights
    assert main(["fetch", NAME, "--hub", f"{server.url}/mirror/"]) == 0


def test_loading_never_downloads(server, weights):
    server.files[HUB_PATH] = weights
    with pytest.raises(UserError, match=rf"not in the cache.*python -m hgad_jax.backbones fetch {NAME}"):
        load(NAME, taps=("stem",), source="auto")
    with pytest.raises(UserError, match=rf"no Python package.*fetch {NAME}"):
        load(NAME, taps=("stem",), source="package")
    assert server.requests == []


def test_download_that_is_cut_off_leaves_nothing(server, weights, capsys):
    server.files[HUB_PATH], server.missing = weights, 100
    assert f"cut off after {len(weights)} of {len(weights) + 100} bytes" in refusal(NAME, capsys)
    assert stored() == []


def test_killed_download_leaves_nothing_that_looks_whole(server, weights, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    server.files[HUB_PATH] = weights
    with monkeypatch.context() as context:
        context.setattr(fetch_module, "_check_content", killed)
        assert main(["fetch", NAME]) == 2
    assert stored() == []
    remains = stored_path(choose(NAME)).with_name(f".{NAME}.safetensors.{'a1' * 16}.tmp")  # of a SIGKILL
    remains.write_bytes(weights[:100])
    assert main(["fetch", NAME]) == 0
    assert stored() == [f"{NAME}.safetensors", f"{NAME}.safetensors.sha256"]


def start():
    command = [sys.executable, "-m", "hgad_jax.backbones", "fetch", NAME]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_of_two_processes_one_downloads_and_the_other_waits(server, weights):
    server.files[HUB_PATH] = weights
    server.until = threading.Event()
    first = start()
    assert server.asked.acquire()
    second = start()
    assert "Another process fetches" in second.stdout.readline()
    server.until.set()
    said = [process.communicate()[0] for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0]
    assert "stored as" in said[0]
    assert "is there and unchanged" in said[1]
    assert server.requests == [HUB_PATH]
    assert stored() == [f"{NAME}.safetensors", f"{NAME}.safetensors.sha256"]


def test_a_download_that_is_killed_frees_the_way_for_the_next(server, weights):
    server.files[HUB_PATH] = weights
    server.until = threading.Event()
    first = start()
    assert server.asked.acquire()
    second = start()
    assert "Another process fetches" in second.stdout.readline()
    first.kill()
    first.communicate()
    server.until.set()
    said, _ = second.communicate()
    assert second.returncode == 0
    assert "stored as" in said
    assert stored() == [f"{NAME}.safetensors", f"{NAME}.safetensors.sha256"]


def test_what_is_no_weights_file_is_not_stored(server, capsys):
    server.files[HUB_PATH] = b"<html>log in first</html>"
    assert "is not a whole safetensors file" in refusal(NAME, capsys)
    assert stored() == []


def test_weights_of_another_network_are_not_stored(server, capsys):
    server.files[HUB_PATH] = safetensors({"conv1.weight": np.zeros((2, 2), np.float32)})
    assert "left over: conv1.weight" in refusal(NAME, capsys)
    assert stored() == []


def test_changed_weights_are_refused_at_every_later_fetch_and_load(server, weights, capsys):
    server.files[HUB_PATH] = weights
    main(["fetch", NAME])
    path = stored_path(choose(NAME))
    changed = bytearray(weights)
    changed[-1] ^= 1
    path.write_bytes(changed)
    assert "the first fetch recorded" in refusal(NAME, capsys)
    with pytest.raises(UserError, match=r"is not the published one.*rm "):
        load(NAME, taps=("stem",), source="cache")
    path.unlink()
    server.files[HUB_PATH] = bytes(changed)
    assert "the first fetch recorded" in refusal(NAME, capsys)
    assert stored() == [record_path(choose(NAME)).name]


def test_file_of_another_hash_than_its_name_says_is_refused(server, capsys):
    server.files["/mobilenet_v3_small-047dcff4.pth"] = b"anything"
    message = refusal(TORCHVISION, capsys)
    assert "is not the published mobilenet_v3_small-047dcff4.pth" in message
    assert "expected one that begins with 047dcff4" in message
    assert stored() == []


def test_server_that_does_not_have_it_or_does_not_answer(server, capsys, monkeypatch):
    assert "the server says 404" in refusal(NAME, capsys)
    monkeypatch.setenv("HGAD_JAX_HUB", "http://127.0.0.1:9")
    assert "Connection refused" in refusal(NAME, capsys)
    monkeypatch.setenv("HGAD_JAX_HUB", "http://mirror:abc")
    assert "nonnumeric port: 'abc'" in refusal(NAME, capsys)
    assert stored() == []


def test_only_web_addresses_are_downloaded(server, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HGAD_JAX_HUB", tmp_path.as_uri())
    assert "begins with https:// or http://" in refusal(NAME, capsys)
    monkeypatch.setenv("HGAD_JAX_HUB", server.url)
    monkeypatch.setattr(fetch_module, "weights_url", lambda choice, hosts: f"{server.url}/moved")
    assert "file:///etc/hostname" in refusal(NAME, capsys)
    assert stored() == []


def test_unknown_names_are_refused(server, capsys):
    assert "unknown backbone 'resnet19'" in refusal("resnet19", capsys)
    assert "known names: resnet18.a1_in1k" in refusal("resnet18.v3", capsys)


def test_cache_folder_that_cannot_be_made(server, weights, tmp_path, capsys, monkeypatch):
    server.files[HUB_PATH] = weights
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HGAD_JAX_CACHE", str(tmp_path / "file"))
    assert "Not a directory" in refusal(NAME, capsys)
