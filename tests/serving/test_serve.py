"""A server over HTTP: predictions, models, counters, who is let in."""

import base64
import io
import json
import threading
import time
from typing import ClassVar

import numpy as np
import pytest
from by_brightness import LIMIT, ByBrightness
from PIL import Image
from served import TOKEN, ask, defective, encoded, form, good, here, post, until

from hgad_jax.data.transforms import load
from hgad_jax.errors import UserError
from hgad_jax.serving.limits import Limits
from hgad_jax.serving.models import Models

CARRIED = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def server():
    with here() as found:
        yield found


def test_images_are_scored_in_their_order(server):
    answer = post(f"{server.url}/v1/predict", good(), defective(), good(300, 200))
    assert answer.status == 200
    assert [r["decision"] for r in answer.json["results"]] == ["good", "anomalous", "good"]
    assert [r["name"] for r in answer.json["results"]] == ["0.png", "1.png", "2.png"]
    assert [(r["height"], r["width"]) for r in answer.json["results"]] == [(40, 60), (40, 60), (300, 200)]
    assert (answer.json["model"], answer.json["generation"]) == ("default", 1)


def test_a_result_has_every_plain_field_of_a_prediction(server):
    (found,) = post(f"{server.url}/v1/predict", defective()).json["results"]
    predictor = ByBrightness()
    square, size, _ = load(io.BytesIO(defective()), predictor.scorer.transform)
    (decided,) = predictor.decide([square], [size])
    said = decided.prediction._asdict()
    del said["map"]
    (region,), (shown,) = said.pop("regions"), found["regions"]
    assert shown == {"area": region.area, "length": region.length, "highest": region.highest} | {
        name: list(getattr(region, name)) for name in ("centre", "peak")
    }
    assert {name: found[name] for name in said} == json.loads(json.dumps(said | {"evidence": {}}))
    assert found["timings"].keys() == {"decode", "wait", "score", "paint", "batch"}
    assert not {"heatmap", "map", "contours"} & found.keys()


def png(said):
    image = Image.open(io.BytesIO(base64.b64decode(said["png"])))
    assert (said["width"], said["height"]) == image.size
    return image


def test_pictures_are_given_on_demand(server):
    answer = post(f"{server.url}/v1/predict?heatmap=1&map=true&contours=1", defective(80, 80))
    (found,) = answer.json["results"]
    heat = np.asarray(png(found["heatmap"]))
    assert heat.shape == (80, 80, 4)
    assert heat[17, 17, 3] > 80, "the defect is coloured"
    assert heat[70, 70, 3] == 0, "the rest is transparent"
    raw = np.asarray(png(found["map"]))
    assert raw.max() > 32768 > raw[70, 70]
    (region,) = found["contours"]["regions"]
    corners = np.array(region["outline"])
    assert np.abs([corners.min() - 10, corners.max() - 25]).max() < 3


def test_a_large_image_comes_with_pictures_of_1024_pixels(server):
    answer = post(f"{server.url}/v1/predict?heatmap=1&contours=0", encoded(np.full((100, 3000), 9, np.uint8)))
    assert png(answer.json["results"][0]["heatmap"]).size == (1024, 34)


def test_the_model_says_what_its_thresholds_promise(server):
    found = ask(f"{server.url}/v1/model").json
    assert found["classes"] == ["part"]
    assert found["versions"].keys() == {"hgad_jax", "jax", "python"}
    (part,) = found["thresholds"]
    assert part["threshold"]["value"] == LIMIT.value
    assert [point["threshold"] for point in part["curve"]] == [200, 199, 198, 197, 196]
    assert np.allclose([point["rate"] for point in part["curve"]], np.arange(1, 6) / 11)
    assert all(0 <= point["low"] < point["rate"] < point["high"] <= 1 for point in part["curve"])


def test_requests_at_once_share_batches():
    class Slow(ByBrightness):
        sizes: ClassVar[list[tuple[int, int]]] = []

        def decide(self, squares, sizes, class_id=None, *, batch_size=None, names=()):
            self.sizes.append((len(squares), batch_size))
            time.sleep(0.05)
            return super().decide(squares, sizes, class_id, batch_size=batch_size, names=names)

    with here(models=Models({"default": "run"}, open_it=lambda path: Slow())) as server:
        answers = []
        asking = [
            threading.Thread(
                target=lambda i=i: answers.append(
                    (i % 2, post(f"{server.url}/v1/predict", (good, defective)[i % 2]()))
                )
            )
            for i in range(24)
        ]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
    assert all(answer.status == 200 for _, answer in answers)
    assert all(answer.json["results"][0]["anomalous"] == bool(odd) for odd, answer in answers)
    assert sum(count for count, _ in Slow.sizes) == 24
    assert max(count for count, _ in Slow.sizes) > 1
    assert {size for _, size in Slow.sizes} <= {1, 2, 4, 8}


def test_clients_that_ask_again_and_again_do_not_take_turns():
    """Four of them fill batches of four; without a moment's wait it would be one and three in turn."""
    counts = []

    class Slow(ByBrightness):
        def decide(self, squares, sizes, class_id=None, *, batch_size=None, names=()):
            counts.append(len(squares))
            time.sleep(1.0)
            return super().decide(squares, sizes, class_id)

    with here(models=Models({"default": "run"}, open_it=lambda path: Slow())) as server:

        def ask_on():
            for _ in range(4):
                assert post(f"{server.url}/v1/predict", good()).status == 200

        asking = [threading.Thread(target=ask_on) for _ in range(4)]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
    assert sum(counts) == 16
    assert len(counts) <= 6, counts


def test_two_models_and_their_names():
    def opened(path):
        return ByBrightness((path,))

    with here(models=Models({"a": "brick", "b": "grass"}, open_it=opened)) as server:
        url = f"{server.url}/v1/predict"
        assert post(f"{url}?model=b", good()).json["results"][0]["class_name"] == "grass"
        assert post(f"{url}?model=a&class=brick", good()).json["results"][0]["class_name"] == "brick"
        for query in ("", "?model=c", "?model=../../etc"):
            answer = post(url + query, good())
            assert (answer.status, answer.code) == (404, "no_such_model")
            assert "there are: a, b" in answer.json["error"]["message"]
        answer = post(f"{url}?model=a&class=grass", good())
        assert (answer.status, answer.code) == (400, "class")
        assert [m["name"] for m in ask(f"{server.url}/v1/models").json["models"]] == ["a", "b"]


def test_a_model_of_given_classes_wants_the_class():
    class Given(ByBrightness):
        def __init__(self):
            super().__init__(("brick", "grass"))
            self.scorer.mode = "given"

    with here(models=Models({"default": "run"}, open_it=lambda path: Given())) as server:
        assert post(f"{server.url}/v1/predict", good()).code == "class"
        found = post(f"{server.url}/v1/predict?class=grass", good()).json
        assert found["results"][0]["class_name"] == "grass"


def test_without_the_token_nothing_of_the_model_is_told():
    with here(token=TOKEN) as server:
        wrong = (
            {},
            {"Authorization": "Bearer x"},
            {"Authorization": TOKEN},
            {"Authorization": "Bearer \xff"},
        )
        for path in ("/v1/model", "/v1/models", "/metrics", "/v1/nope"):
            for headers in wrong:
                answer = ask(server.url + path, headers=headers)
                assert (answer.status, answer.code) == (401, "token")
                assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert post(f"{server.url}/v1/predict", good()).status == 401
        assert post(f"{server.url}/v1/predict", good(), headers=CARRIED).status == 200
        for path in ("/", "/healthz", "/readyz", "/openapi.json", "/docs", "/page/main.js"):
            assert ask(server.url + path).status == 200
        assert ask(f"{server.url}/metrics", headers=CARRIED | {"Host": "elsewhere"}).status == 200
        assert not [line for line in server.log if TOKEN in line]


@pytest.mark.parametrize(
    "headers",
    [{"Host": "evil.example"}, {"Host": "127.0.0.1.evil.example:80"}, {"Origin": "https://evil.example"}],
)
def test_without_a_token_pages_of_elsewhere_are_refused(server, headers):
    answer = post(f"{server.url}/v1/predict", good(), headers=headers)
    assert (answer.status, answer.code) == (403, "other_origin")


def test_the_servers_own_page_may(server):
    assert post(f"{server.url}/v1/predict", good(), headers={"Origin": server.url}).status == 200


def test_a_server_that_is_not_ready_says_so():
    with here(ready=False) as server:
        assert ask(f"{server.url}/healthz").status == 200
        for answer in (ask(f"{server.url}/readyz"), post(f"{server.url}/v1/predict", good())):
            assert (answer.status, answer.code) == (503, "starting")
            assert int(answer.headers["Retry-After"]) > 0
        server.state.ready.set()
        assert ask(f"{server.url}/readyz").status == 200


def test_a_model_is_swapped_while_requests_go_on():
    opened = []

    def open_it(path):
        opened.append(path)
        if len(opened) == 3:
            raise UserError(f"{path} holds no run")
        return ByBrightness((f"generation {len(opened)}",))

    with here(models=Models({"default": "run"}, open_it=open_it), token=TOKEN) as server:
        statuses, done = [], threading.Event()

        def ask_on():
            while not done.is_set():
                statuses.append(post(f"{server.url}/v1/predict", good(), headers=CARRIED).status)

        asking = [threading.Thread(target=ask_on) for _ in range(4)]
        for thread in asking:
            thread.start()
        answer = ask(f"{server.url}/v1/models/default/reload", headers=CARRIED, method="POST")
        assert answer.json == {"model": "default", "generation": 2}
        refused = ask(f"{server.url}/v1/models/default/reload", headers=CARRIED, method="POST")
        assert (refused.status, refused.code) == (409, "not_loaded")
        assert "holds no run" in refused.json["error"]["message"]
        found = post(f"{server.url}/v1/predict", good(), headers=CARRIED).json
        done.set()
        for thread in asking:
            thread.join()
    assert found["results"][0]["class_name"] == "generation 2"
    assert statuses
    assert set(statuses) == {200}
    assert set(opened) == {"run"}


def test_a_reload_needs_a_token(server):
    answer = ask(f"{server.url}/v1/models/default/reload", method="POST")
    assert (answer.status, answer.code) == (403, "no_token")


def test_a_full_queue_says_come_again():
    open_it, go = threading.Event(), threading.Event()

    class Stuck(ByBrightness):
        def decide(self, *arguments, **settings):
            open_it.set()
            go.wait()
            return super().decide(*arguments, **settings)

    limits = Limits(queue=3, max_images=3)
    with here(models=Models({"default": "run"}, open_it=lambda path: Stuck()), limits=limits) as server:
        answers = []
        first = threading.Thread(
            target=lambda: answers.append(post(f"{server.url}/v1/predict", good(), good()))
        )
        first.start()
        open_it.wait()
        refused = post(f"{server.url}/v1/predict", good(), good())
        assert (refused.status, refused.code) == (503, "busy")
        assert refused.headers["Retry-After"] == "1"
        assert ask(f"{server.url}/healthz").status == 200
        go.set()
        first.join()
        assert answers[0].status == 200
        until(lambda: server.state.batcher.taken == 0)
        assert post(f"{server.url}/v1/predict", good(), good()).status == 200


def test_one_broken_score_fails_its_own_request_only():
    go = threading.Event()

    class Moody(ByBrightness):
        def decide(self, squares, sizes, class_id=None, *, batch_size=None, names=()):
            go.wait()
            if any(square.mean() > 250 for square in squares):
                raise UserError("scores that are not finite")
            return super().decide(squares, sizes, class_id)

    with here(models=Models({"default": "run"}, open_it=lambda path: Moody())) as server:
        white = encoded(np.full((40, 40), 255, np.uint8))
        answers = {}

        def send(number, image):
            answers[number] = post(f"{server.url}/v1/predict", image)

        asking = [threading.Thread(target=send, args=(i, white if i == 3 else good())) for i in range(6)]
        for thread in asking:
            thread.start()
        until(lambda: server.state.batcher.taken == 6)
        go.set()
        for thread in asking:
            thread.join()
        assert [answers[i].status for i in range(6)] == [200, 200, 200, 500, 200, 200]
        assert answers[3].code == "fault"
        assert b"Traceback" not in answers[3].body
        until(lambda: any("scores that are not finite" in line for line in server.log))


def test_counters_and_the_log_know_what_happened(server):
    post(f"{server.url}/v1/predict", defective())
    ask(f"{server.url}/v1/secret-name.png")
    text = ask(f"{server.url}/metrics").body.decode()
    assert 'hgad_jax_images_total{class_name="part",decision="anomalous",model="default"}' in text
    assert 'hgad_jax_requests_total{route="other",status="404"}' in text
    assert "hgad_jax_images_waiting 0.0" in text
    assert any("POST /v1/predict 200" in line for line in server.log)
    assert not [line for line in server.log if ".png" in line], "no names of images"


def test_what_there_is_is_described(server):
    found = ask(f"{server.url}/openapi.json").json
    assert "images" in json.dumps(found["paths"]["/v1/predict"]["post"]["requestBody"])
    assert found["paths"].keys() >= {"/v1/predict", "/v1/model", "/v1/models/{name}/reload", "/metrics"}


def test_a_field_without_a_name_of_its_file_is_no_file(server):
    body, kind = form(("images", None, good()))
    answer = ask(f"{server.url}/v1/predict", data=body, headers=kind)
    assert (answer.status, answer.code) == (400, "no_file")
