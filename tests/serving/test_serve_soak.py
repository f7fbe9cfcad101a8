"""Ten minutes of a server at work: memory and open files stay what they were after the first minute."""

import http.client
import os
import threading
import time
from pathlib import Path

import pytest
from served import form
from test_serve_process import images, place, serving  # noqa: F401

pytestmark = pytest.mark.slow
MINUTES, CLIENTS = 10.0, 4


def resident(pid: int) -> float:
    """Megabytes."""
    (line,) = [x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("VmRSS")]
    return int(line.split()[1]) / 1e3


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_memory_stays_constant(place):  # noqa: F811
    with serving(place / "run", token="") as process:
        process.wait_for("ready after")
        pid, port = process.process.pid, int(process.url.rsplit(":", 1)[1])
        bodies = [form(("images", "a.png", path.read_bytes())) for path in images(place)]
        statuses: list[int] = []
        end = time.monotonic() + 60 * MINUTES

        def ask_on(number: int) -> None:
            connection = http.client.HTTPConnection("127.0.0.1", port)
            while time.monotonic() < end:
                body, kind = bodies[number % len(bodies)]
                connection.request("POST", "/v1/predict?heatmap=1&contours=1", body, kind)
                answer = connection.getresponse()
                answer.read()
                statuses.append(answer.status)
                number += 1
            connection.close()

        threads = [threading.Thread(target=ask_on, args=(number,)) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        sizes, files = [], []
        while time.monotonic() < end:
            time.sleep(5)
            sizes.append(resident(pid))
            files.append(len(os.listdir(f"/proc/{pid}/fd")))
        for thread in threads:
            thread.join()
    after = len(sizes) // 10  # the first minute
    assert len(statuses) > 1000
    assert set(statuses) == {200}
    print(f"{len(statuses)} answers; {sizes[0]:.1f}, {sizes[after]:.1f} ... {sizes[-1]:.1f} MB")
    assert max(sizes[after:]) < 1.03 * sizes[after], sizes
    assert max(files[after:]) <= CLIENTS + files[0]
