"""Two processes whose views of a folder differ for a while decide together; real ones, that train nothing."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from runs.test_checkpoints import METADATA, make_items
from several import free_port

from hgad_jax.errors import UserError
from hgad_jax.runs import checkpoints, newest

ROOT = Path(__file__).parents[2]


def run(program, *arguments):
    """The lines of two processes that run a program, which knows its `rank`; and what else they said."""
    start = f"""
import os, sys
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}]
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.pop("XLA_FLAGS", None)
from pathlib import Path
from hgad_jax.errors import UserError
from hgad_jax.runs import checkpoints, newest, processes
rank = int(sys.argv[1])
processes.initialize("127.0.0.1:{free_port()}", 2, rank)
"""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    running = [
        subprocess.Popen([sys.executable, "-c", start + program, str(rank), *map(str, arguments)], **pipes)
        for rank in range(2)
    ]
    said = [process.communicate() for process in running]
    return [[line for line in out.splitlines() if "[Gloo]" not in line] for out, _ in said], said


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    place = tmp_path_factory.mktemp("saved")
    with checkpoints.open_manager(place) as manager:
        for step in (3, 5):
            checkpoints.save(manager, step, make_items(step), METADATA)
    return place


LAGGING = """
import jax, numpy as np
from runs.test_checkpoints import METADATA, make_items
directory = Path(sys.argv[2])

class Lag:
    def __init__(self, ask, stale, calls):
        self.ask, self.stale, self.calls = ask, stale, calls
    def __call__(self, folder):
        self.calls -= 1
        return self.stale if self.calls >= 0 else self.ask(folder)

if rank == 1:  # sees the newest whole checkpoint later, and the damaged one longer
    newest.damage = Lag(newest.damage, "sha256.json: No such file or directory", 3)
    newest.steps = Lag(newest.steps, [7, 5, 3], 3)
with checkpoints.open_manager(directory) as manager:
    step = checkpoints.latest_step(manager)
    checkpoints.set_aside(manager, step)
    print(step, sorted(manager.all_steps()), newest.steps(directory / "checkpoints"))
    mesh = jax.make_mesh((2,), ("data",))
    items = jax.tree.map(np.asarray, make_items(7.0))
    items = jax.device_put(items, jax.NamedSharding(mesh, jax.P()))
    checkpoints.save(manager, 7, items, METADATA)
    manager.wait_until_finished()
    print(sorted(manager.all_steps()))
"""


def test_all_go_on_from_the_step_that_the_first_one_sees(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "run")
    folder = tmp_path / "run" / "checkpoints"
    shutil.copytree(folder / "5", folder / "7")
    next((folder / "7" / "params" / "d").iterdir()).write_bytes(b"damaged")
    lines, said = run(LAGGING, tmp_path / "run")
    assert lines == [["5 [3, 5] [5, 3]", "[5, 7]"]] * 2, said
    assert (tmp_path / "run" / "damaged" / "7").exists()


TEXTS = """
said = "größe " * 3 if rank == 0 else "another"
print(processes.text_from_first(said) == "größe " * 3, processes.first_decides(lambda: 7 + rank))
for text in ("same", said):
    try:
        processes.refuse_different(text, "has others")
        print("agreed")
    except UserError as error:
        print(error)
def refuse():
    raise UserError("nothing there")
try:
    processes.first_decides(refuse)
except UserError as error:
    print(error)
"""


def test_what_the_first_one_says_and_refuses_holds_for_all():
    lines, said = run(TEXTS)
    assert [line[:2] for line in lines] == [["True 7", "agreed"]] * 2, said
    assert lines[0][2] == lines[1][2]
    assert lines[0][2].startswith("Process 1 of 2 has others than process 0.")
    assert [line[3] for line in lines] == [
        "nothing there",
        "Process 1 ends, since the first one refuses: see its output.",
    ]


def test_one_that_never_sees_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(newest, "_LAG", 0)
    with pytest.raises(UserError, match=r"does not see it after 0 s.*on a file system that they share"):
        newest.wait_until(lambda: False, "it")


def test_steps_are_folders_named_by_numbers(tmp_path):
    assert newest.steps(tmp_path / "nowhere") == []
    for name in ("3", "12", "7.orbax-checkpoint-tmp", "damaged"):
        (tmp_path / name).mkdir()
    assert newest.steps(tmp_path) == [12, 3]
