"""What clients do wrong, by accident or on purpose: a clear answer each, and the service goes on."""

import io
import json
import random
import socket
import struct
import threading
import time
import zlib

import numpy as np
import pytest
from PIL import Image
from served import Limits, ask, encoded, form, good, here, post, raw, until

LIMITS = Limits(max_bytes=200_000, max_images=4, timeout=3.0, head_timeout=1.0, max_connections=40)


@pytest.fixture(scope="module")
def server():
    with here(limits=LIMITS) as found:
        yield found


@pytest.fixture(autouse=True)
def _goes_on(server):
    """After each test: requests are answered, nothing is left of it, and nothing was a fault."""
    yield
    assert post(f"{server.url}/v1/predict", good()).status == 200
    until(lambda: server.state.batcher.taken == 0)
    assert not [line for line in server.log if "fault" in line or "Traceback" in line]


def bomb() -> bytes:
    """A PNG of 30,000 × 30,000 white pixels in some kilobytes."""
    row = zlib.compressobj(9, wbits=15)
    data = b"".join(row.compress(b"\0" + b"\xff" * 3750) for _ in range(30_000)) + row.flush()

    def chunk(kind, content):
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    head = struct.pack(">IIBBBBB", 30_000, 30_000, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def animated() -> bytes:
    frames = [Image.fromarray(np.full((20, 20), value, np.uint8)) for value in (0, 90, 200)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    return file.getvalue()


NOISE = np.random.default_rng(0).integers(0, 255, (60, 60, 3), dtype=np.uint8)
BAD_IMAGES = {
    "text": (b"this is no image", "no image by its content"),
    "empty": (b"", "empty"),
    "cut": (encoded(NOISE)[:-2000], "cannot be read"),
    "cut jpeg": (encoded(NOISE, "JPEG")[:-700], "cannot be read"),
    "bomb": (bomb(), "30000×30000 pixels, and images of at most 50000000 are taken"),
    "animation": (animated(), "gif"),
}


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_what_is_no_whole_image(server, name):
    content, said = BAD_IMAGES[name]
    assert len(content) < 160_000
    answer = post(f"{server.url}/v1/predict", good(), content)
    assert (answer.status, answer.code) == (422, "unreadable")
    (wrong,) = answer.json["error"]["images"]
    assert (wrong["index"], wrong["name"]) == (1, "1.png")
    assert said.lower() in wrong["message"].lower()


@pytest.mark.parametrize("name", ["../../etc/passwd", "C:\\Windows\\x.png", "/etc/passwd", "http://x/y.png"])
def test_a_name_is_never_looked_up(server, name):
    body, kind = form(("images", name.replace("\\", "\\\\"), b"no image"))
    answer = ask(f"{server.url}/v1/predict", data=body, headers=kind)
    assert answer.status == 422
    assert answer.json["error"]["images"][0]["name"] in ("passwd", "x.png", "y.png")
    assert "no image by its content" in answer.json["error"]["message"]


def test_too_many_images(server):
    parts = [("images", f"{i}.png", b"x") for i in range(1500)]
    body, kind = form(*parts)
    assert len(body) < LIMITS.max_bytes
    answer = ask(f"{server.url}/v1/predict", data=body, headers=kind)
    assert (answer.status, answer.code) == (413, "too_many_images")


def test_ten_thousand_images():
    with here() as server:
        body, kind = form(*(("images", f"{i}.png", good()) for i in range(10_000)))
        answer = ask(f"{server.url}/v1/predict", data=body, headers=kind)
        assert (answer.status, answer.code) == (413, "too_many_images")
        assert post(f"{server.url}/v1/predict", good()).status == 200


@pytest.mark.parametrize(
    ("parts", "status", "code"),
    [
        ([("image", "a.png", b"x")], 400, "wrong_field"),
        ([("images", "a.png", good()), ("mask", None, b"x")], 400, "wrong_field"),
        ([], 400, ("no_images", "damaged_form")),
        ([("x", None, b"1")] * 50, 400, "wrong_field"),
        ([("images", None, b"1" * 150_000)], 400, "no_file"),
    ],
)
def test_other_fields(server, parts, status, code):
    body, kind = form(*parts)
    answer = ask(f"{server.url}/v1/predict", data=body, headers=kind)
    assert answer.status == status
    assert answer.code in code


def test_a_form_that_was_cut(server):
    """Not even its whole images are scored: those that are missing would be missed by nobody."""
    body, kind = form(("images", "a.png", good()), ("images", "b.png", good()))
    for length in (len(body) - 5, len(body) - 40, len(body) // 2 + 60, 30, 0):
        answer = ask(f"{server.url}/v1/predict", data=body[:length], headers=kind)
        assert (answer.status, answer.code) == (400, "damaged_form")


def test_other_kinds_of_requests(server):
    url = f"{server.url}/v1/predict"
    assert ask(url).status == 405
    assert ask(url, data=good(), headers={"Content-Type": "image/png"}).code == "not_a_form"
    assert ask(url, data=b"{}", headers={"Content-Type": "application/json"}).status == 415
    assert ask(url, data=b"a=b", headers={"Content-Type": "application/x-www-form-urlencoded"}).status == 415
    no_boundary = ask(url, data=b"x", headers={"Content-Type": "multipart/form-data"})
    assert (no_boundary.status, no_boundary.code) == (400, "damaged_form")
    for query in (
        "heatmpa=1",
        "heatmap=yes",
        "heatmap=1&heatmap=1",
        "url=http://x/y.png",
        "path=/etc/passwd",
    ):
        answer = post(f"{url}?{query}", good())
        assert (answer.status, answer.code) == (400, "parameter")


def head(length=None, more="") -> bytes:
    size = "" if length is None else f"Content-Length: {length}\r\n"
    kind = "Content-Type: multipart/form-data; boundary=b\r\n"
    return f"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\n{kind}{size}{more}\r\n".encode()


def said(answer: bytes):
    top, _, body = answer.partition(b"\r\n\r\n")
    return int(top.split()[1]), json.loads(body)["error"]["code"]


def test_a_request_over_the_limit_by_its_own_word(server):
    start = time.monotonic()
    assert said(raw(server.port, head(10_000_000_000), b"x" * 1000)) == (413, "too_large")
    assert time.monotonic() - start < LIMITS.timeout


def test_a_request_over_the_limit_that_is_asked_first(server):
    """A client that waits for "100 Continue" hears at once that its request is not wanted."""
    answer = raw(server.port, head(10_000_000, "Expect: 100-continue\r\n"))
    assert said(answer) == (413, "too_large")


def test_a_request_over_the_limit_in_chunks(server):
    opening = b'--b\r\nContent-Disposition: form-data; name="images"; filename="a.png"\r\n\r\n'
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    pieces = [f"{len(opening):x}\r\n".encode() + opening + b"\r\n", *[chunk] * 40]
    assert said(raw(server.port, head(more="Transfer-Encoding: chunked\r\n"), *pieces)) == (413, "too_large")


def test_a_request_whose_head_never_ends(server):
    drip = [f"X-{i}: 1\r\n".encode() for i in range(30)]
    answer = raw(server.port, b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\n", *drip, wait=0.1)
    assert said(answer) == (408, "timeout")


def test_a_connection_that_says_nothing(server):
    assert said(raw(server.port)) == (408, "timeout")


def test_a_body_that_never_ends(server):
    opening = b'--b\r\nContent-Disposition: form-data; name="images"; filename="a.png"\r\n\r\n'
    answer = raw(server.port, head(5000), opening, *[b"x"] * 45, wait=0.1)
    assert said(answer) == (408, "timeout")


def test_a_head_that_is_too_long(server):
    long = b"".join(b"X-%d: %s\r\n" % (i, b"y" * 1000) for i in range(80))
    assert said(raw(server.port, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + long)) == (400, "http")


@pytest.mark.parametrize("after", [0, 300])
def test_a_client_that_leaves(server, after):
    """In the middle of its request, or before its answer."""
    body, kind = form(("images", "a.png", good()))
    kind = kind["Content-Type"]
    top = f"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\n"
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(f"{top}Content-Length: {len(body)}\r\n\r\n".encode() + body[: after or None])
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    until(lambda: not server.state.batcher.taken)


def test_more_connections_than_there_may_be(server):
    kept = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(LIMITS.max_connections)]
    try:
        assert said(raw(server.port, b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")) == (503, "busy")
    finally:
        for connection in kept:
            connection.close()
    until(lambda: ask(f"{server.url}/healthz").status == 200)


def test_more_requests_than_there_may_be():
    with here(limits=Limits(max_requests=2)) as server:
        kept = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(2)]
        for connection in kept:
            connection.sendall(head(1000))
        until(lambda: post(f"{server.url}/v1/predict", good()).status == 503)
        assert ask(f"{server.url}/healthz").status == 200
        for connection in kept:
            connection.close()
        until(lambda: post(f"{server.url}/v1/predict", good()).status == 200)


def test_a_client_that_does_not_listen(server):
    """It asks over and over and takes no answer: its connection is ended."""
    with socket.create_connection(("127.0.0.1", server.port)) as connection:

        def flood():
            while True:
                connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")

        with pytest.raises(OSError, match=r"reset|[Bb]roken pipe"):
            flood()


def mutated(rng: random.Random) -> bytes:
    """A request that was good before some of its bytes were changed, taken out, doubled or moved."""
    body, kind = form(("images", "a.png", good()), ("images", "b.png", b"x"))
    top = (
        f"POST /v1/predict?heatmap=1 HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind['Content-Type']}\r\n"
    )
    request = bytearray(f"{top}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
    for _ in range(rng.randint(1, 6)):
        place = rng.randrange(len(request))
        piece = slice(place, place + rng.randint(1, 30))
        change = rng.randrange(5)
        if change == 0:
            request[piece] = rng.randbytes(len(request[piece]))
        elif change == 1:
            del request[piece]
        elif change == 2:
            request[place:place] = request[piece] * rng.randint(1, 9)
        elif change == 3:
            request[piece] = rng.choice([b"\r\n", b"\r\n\r\n", b"--", b"\0", b"%ff", b";", b'"', b"=", b":"])
        else:
            del request[place:]
        if not request:
            break
    return bytes(request)


def test_damaged_requests_are_answered():
    """Several hundred of them: no status of 500 and above, and no stack trace."""
    rng = random.Random(0)
    requests = [mutated(rng) for _ in range(400)]
    statuses = []

    def send(port, some):
        for request in some:
            answer = raw(port, request)
            statuses.append(int(answer.split()[1]) if answer else 0)
            assert b"Traceback" not in answer
            assert b'File "' not in answer

    with here(limits=LIMITS._replace(timeout=2.0, head_timeout=0.5)) as server:
        threads = [threading.Thread(target=send, args=(server.port, requests[i::16])) for i in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert post(f"{server.url}/v1/predict", good()).status == 200
        assert not [line for line in server.log if "fault" in line]
    assert len(statuses) == len(requests)
    assert {status // 100 for status in statuses if status} <= {2, 4}
    assert {200, 400, 408} <= set(statuses)
    assert statuses.count(0) < 40, "nearly all were answered"


@pytest.mark.parametrize(
    "path",
    [
        "/page/../app.py",
        "/page/%2e%2e/app.py",
        "/page/..%2fapp.py",
        "/page//etc/passwd",
        "//etc/passwd",
        "/page/",
    ],
)
def test_no_path_leads_out_of_the_page(server, path):
    answer = raw(server.port, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
    assert said(answer) == (404, "route")
