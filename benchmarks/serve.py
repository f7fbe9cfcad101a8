"""What serving costs: clients of a server against `Predictor.decide` in batches, on the same images.

    python benchmarks/serve.py --workdir=RUN IMAGES... [--clients 1 4 16] [--seconds=20]

IMAGES are files that the run knows. First `decide` alone, in this process, on images that are decoded; then
decoding and `decide` one after the other; then `hgad-jax serve` as a process of its own, with clients that
each send one image after the other, over HTTP on this machine: they take time of the same cores.
The last line is JSON.
"""

import argparse
import contextlib
import http.client
import itertools
import json
import re
import shlex
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import numpy as np

from hgad_jax import Predictor
from hgad_jax.data.transforms import load
from hgad_jax.runs import host
from hgad_jax.serving.models import SIZES


def decide_alone(predictor: Predictor, paths: list[Path], seconds: float) -> dict[str, float]:
    """Images per second in full batches: of images that are decoded, and with their decoding before."""
    batch = [path for path, _ in zip(itertools.cycle(paths), range(SIZES[-1]), strict=False)]
    loaded = [load(path, predictor.scorer.transform) for path in batch]

    def decide(some):
        predictor.decide([one.pixels for one in some], [one.size for one in some], batch_size=SIZES[-1])

    def rate(run):
        run()
        start, rounds = time.monotonic(), 0
        while time.monotonic() - start < seconds or not rounds:
            run()
            rounds += 1
        return rounds * len(batch) / (time.monotonic() - start)

    return {
        "decide": rate(lambda: decide(loaded)),
        "decode_decide": rate(lambda: decide([load(path, predictor.scorer.transform) for path in batch])),
    }


@contextlib.contextmanager
def server(program: str, workdir: str):
    """The port of a server that is ready."""
    command = [*shlex.split(program), "serve", workdir, "--port=0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            if line.startswith("ready"):
                break
        found = re.search(r"listening on http://127\.0\.0\.1:(\d+)", said)
        assert found, said
        reader = threading.Thread(target=process.stderr.read)
        reader.start()
        try:
            yield int(found[1])
        finally:
            process.terminate()
            process.wait()
            reader.join()


def body_of(image: bytes) -> tuple[bytes, dict[str, str]]:
    """A form with one image."""
    boundary = uuid.uuid4().hex
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\n'.encode()
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    return head + image + f"\r\n--{boundary}--\r\n".encode(), kind


def ask(port: int, images: list[bytes], clients: int, seconds: float) -> dict[str, float]:
    """Throughput, latencies and errors of clients that ask one request after the other."""
    bodies = [body_of(image) for image in images]
    took: list[float] = []
    errors: list[str] = []
    end = time.monotonic() + seconds

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        for body, kind in itertools.cycle(bodies[number % len(bodies) :] + bodies[: number % len(bodies)]):
            start = time.monotonic()
            if start > end:
                break
            connection.request("POST", "/v1/predict", body, kind)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status == 200:
                took.append(time.monotonic() - start)
            else:
                errors.append(text.decode())
        connection.close()

    start = time.monotonic()
    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    median, p95 = np.quantile(took, [0.5, 0.95])
    return {
        "images_per_s": len(took) / (time.monotonic() - start),
        "median_s": float(median),
        "p95_s": float(p95),
        "errors": len(errors),
    }


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
    parser.add_argument("--program", default=f"{sys.executable} -m hgad_jax", help="that serves")
    parser.add_argument("images", type=Path, nargs="+")
    arguments = parser.parse_args()
    host.keep_compiled()
    predictor = Predictor.load(arguments.workdir)
    found: dict = decide_alone(predictor, arguments.images, arguments.seconds)
    print(f"decide, batches of {SIZES[-1]}: {found['decide']:.2f} images/s", flush=True)
    print(f"decoding and decide in turn: {found['decode_decide']:.2f} images/s", flush=True)
    images = [path.read_bytes() for path in arguments.images]
    with server(arguments.program, arguments.workdir) as port:
        for clients in arguments.clients:
            one = ask(port, images, clients, arguments.seconds)
            found[f"clients_{clients}"] = one
            print(
                f"{clients} clients: {one['images_per_s']:.2f} images/s "
                f"({one['images_per_s'] / found['decide']:.0%} of decide), median {one['median_s']:.3f} s, "
                f"p95 {one['p95_s']:.3f} s, {one['errors']} errors",
                flush=True,
            )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
