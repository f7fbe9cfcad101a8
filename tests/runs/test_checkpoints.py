"""A checkpoint comes back bit for bit, or not at all and with the reason."""

import gc
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hgad_jax.errors import UserError
from hgad_jax.runs import checkpoints
from hgad_jax.runs.workdir import local_path

ROOT = Path(__file__).parents[2]
METADATA = {"config": {"seed": 0}, "classes": ["nut", "bolt"]}


def make_items(scale=1.0):
    rng = np.random.default_rng(0)

    def array(*shape):
        return jnp.asarray(scale * rng.normal(size=shape), jnp.float32)

    return {
        "params": ({"kernel": array(3, 40), "bias": array(5)},),
        "opt_state": (jnp.asarray(7, jnp.int32), array(3, 40)),
        "constants": {"rotation": array(4, 4)},
        "calibration": (array(2),),
    }


ITEMS = make_items()
ABSTRACT = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), ITEMS)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    directory = tmp_path_factory.mktemp("saved")
    with checkpoints.open_manager(directory) as manager:
        checkpoints.save(manager, 3, ITEMS, METADATA)
    return directory


@pytest.fixture
def copied(saved, tmp_path):
    shutil.copytree(saved / "checkpoints", tmp_path / "checkpoints")
    return tmp_path


def read(directory, abstract=ABSTRACT):
    with checkpoints.open_manager(directory, read_only=True) as manager:
        step = checkpoints.latest_step(manager)
        return step, checkpoints.restore(manager, step, abstract)


def same(found, expected=ITEMS):
    assert jax.tree.structure(found) == jax.tree.structure(expected)

    def compare(a, b):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)

    jax.tree.map(compare, found, expected)


def test_comes_back_bit_for_bit_with_its_metadata(saved):
    step, found = read(saved)
    assert step == 3
    same(found)
    with checkpoints.open_manager(saved, read_only=True) as manager:
        metadata = checkpoints.read_metadata(manager, 3)
    assert metadata["classes"] == ["nut", "bolt"]
    assert metadata["config"] == {"seed": 0}
    assert metadata["step"] == 3
    assert metadata["versions"] == checkpoints.versions()


@pytest.mark.parametrize(
    "name", ["with blanks ", "größe 結果", "x=(1),~", "*", "a?b[c", "{step}", "%20'\"\n"]
)
def test_in_folders_of_many_names(tmp_path, name):
    directory = local_path(tmp_path / name, to_train=True)
    with checkpoints.open_manager(directory) as manager:
        checkpoints.save(manager, 3, ITEMS, METADATA)
    same(read(directory)[1])


def test_a_part_can_be_restored_alone(saved):
    _, found = read(saved, {"params": ABSTRACT["params"]})
    same(found, {"params": ITEMS["params"]})


def test_what_many_devices_wrote_can_be_read_onto_one(tmp_path):
    mesh = jax.make_mesh((jax.device_count(),), ("data",))
    replicated = jax.NamedSharding(mesh, jax.P())
    with checkpoints.open_manager(tmp_path) as manager:
        checkpoints.save(manager, 1, jax.device_put(ITEMS, replicated), METADATA)
    _, found = read(tmp_path)
    same(found)
    assert {len(leaf.devices()) for leaf in jax.tree.leaves(found)} == {1}


def test_only_the_newest_are_kept(tmp_path):
    with checkpoints.open_manager(tmp_path, keep=2) as manager:
        for step in (1, 2, 3):
            checkpoints.save(manager, step, make_items(step), METADATA)
    with checkpoints.open_manager(tmp_path, read_only=True) as manager:
        assert sorted(manager.all_steps()) == [2, 3]
    assert read(tmp_path)[0] == 3


def test_there_is_none(tmp_path):
    with checkpoints.open_manager(tmp_path) as manager:
        assert checkpoints.latest_step(manager) is None


def files(directory):
    return sorted(path for path in (directory / "checkpoints" / "3").rglob("*") if path.is_file())


def cut(content):
    return content[: len(content) // 2]


def flip(content, at):
    at = int(at * (len(content) - 1))
    return content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :]


DAMAGES = {
    "emptied": lambda content: b"",
    "cut": cut,
    "flipped": lambda content: flip(content, 0.5),
    "flipped near the end": lambda content: flip(content, 0.9),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found_or_harmless(copied, damage):
    """Of every file in turn; nothing that orbax reads may be other than it was written."""
    for path in files(copied):
        whole = path.read_bytes()
        path.write_bytes(DAMAGES[damage](whole) if whole else b"x")
        if path.name in ("_CHECKPOINT_METADATA", "commit_success.txt"):  # orbax's notes, read by nobody
            same(read(copied)[1])
        else:
            with pytest.raises(UserError, match="3: this checkpoint cannot be read") as refused:
                read(copied)
            assert path.name in str(refused.value) or path.name == "sha256.json", path
        path.write_bytes(whole)
    same(read(copied)[1])


def test_damage_leaves_no_noise(copied, capfd, recwarn):
    """Orbax's readers, stopped half-way by a damaged file, would print stack traces from other threads."""
    for path in files(copied):
        if "/d/" in str(path):
            path.write_bytes(path.read_bytes()[:50])
    for _ in range(5):
        with pytest.raises(UserError):
            read(copied)
    gc.collect()
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list


def newest(directory):
    with checkpoints.open_manager(directory, read_only=True) as manager:
        return checkpoints.latest_step(manager)


@pytest.fixture
def two(copied):
    with checkpoints.open_manager(copied) as manager:
        checkpoints.save(manager, 5, make_items(5.0), METADATA)
    assert newest(copied) == 5
    return copied


def test_a_damaged_newest_is_named_and_skipped_for_the_one_before(two, caplog):
    shutil.rmtree(two / "checkpoints" / "5" / "params")
    step, found = read(two)
    assert step == 3
    same(found)
    message = caplog.text
    assert "checkpoints/5: this checkpoint is damaged" in message
    assert "params/" in message, "the file is named"
    assert "SKIPPED for the one before, of step 3" in message
    assert (two / "checkpoints" / "5").exists(), "reading moves nothing"


def test_training_sets_damaged_ones_aside_and_may_come_to_their_step_again(two):
    for attempt in ("5", "5-2"):
        path = next((two / "checkpoints" / "5" / "params" / "d").iterdir())
        path.write_bytes(cut(path.read_bytes()))
        with checkpoints.open_manager(two) as manager:
            step = checkpoints.latest_step(manager)
            checkpoints.set_aside(manager, step)
            assert (two / "damaged" / attempt / "metadata").exists()
            assert checkpoints.latest_step(manager) == step == 3
            checkpoints.save(manager, 5, make_items(6.0), METADATA)
        same(read(two)[1], make_items(6.0))
    assert sorted(path.name for path in (two / "damaged").iterdir()) == ["5", "5-2"]


def test_whole_checkpoints_are_not_set_aside(two):
    with checkpoints.open_manager(two) as manager:
        checkpoints.set_aside(manager, checkpoints.latest_step(manager))
        checkpoints.set_aside(manager, None)
        assert sorted(manager.all_steps()) == [3, 5]
    assert not (two / "damaged").exists()


def test_with_no_whole_one_left_the_newest_is_named(two):
    for step in (3, 5):
        (two / "checkpoints" / str(step) / "metadata" / "metadata").write_bytes(b"{")
    with pytest.raises(UserError, match=r"checkpoints/5: .*cannot be read \(metadata/metadata has 1 bytes"):
        newest(two)
    with pytest.raises(UserError, match="Move the folder away to train anew"):
        newest(two)


TRAINING = """
import sys
sys.path[:0] = [{root!r}, {tests!r}]
from pathlib import Path
from runs.test_checkpoints import METADATA, make_items
from hgad_jax.runs import checkpoints

with checkpoints.open_manager(Path({directory!r}), keep=1) as manager:
    for step in range(1, 26):
        checkpoints.save(manager, step, make_items(step), METADATA)
        if step == 1:
            manager.wait_until_finished()
            print("ready", flush=True)
"""
READING = """
import sys
sys.path[:0] = [{root!r}, {tests!r}]
from pathlib import Path
from runs.test_checkpoints import ABSTRACT, make_items, same
from hgad_jax.runs import checkpoints

def read(step):
    assert checkpoints.read_metadata(manager, step)["step"] == step
    same(checkpoints.restore(manager, step, ABSTRACT), make_items(step))
    return step

found = 0
while found < 25:
    with checkpoints.open_manager(Path({directory!r}), read_only=True) as manager:
        found = checkpoints.read_newest(manager, read)
    print(found)
"""


def test_readers_get_a_whole_checkpoint_while_training_writes_and_deletes_them(tmp_path):
    places = {"root": str(ROOT), "tests": str(ROOT / "tests"), "directory": str(tmp_path)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", TRAINING.format(**places)], **pipes) as training:
        assert training.stdout.readline() == "ready\n"
        # Not here: orbax's readers, stopped half-way, leave what pytest takes for an error.
        reading = subprocess.run([sys.executable, "-c", READING.format(**places)], **pipes, check=False)
        _, said = training.communicate()
    assert (training.returncode, reading.returncode) == (0, 0), (said, reading.stderr)
    found = [int(line) for line in reading.stdout.split()]
    assert found == sorted(found)
    assert "damaged" not in reading.stderr, "but deleted"


def test_what_is_deleted_while_it_is_read_is_not_missed(two):
    """One read fails, since training has gone on; a newer checkpoint is there and is read."""
    tried = []

    def read(step):
        tried.append(step)
        if step == 5:
            shutil.copytree(two / "checkpoints" / "5", two / "checkpoints" / "7")
            shutil.rmtree(two / "checkpoints" / "5" / "params")
        checkpoints.read_metadata(manager, step)
        return step

    with checkpoints.open_manager(two, read_only=True) as manager:
        assert checkpoints.read_newest(manager, read) == 7
        shutil.rmtree(two / "checkpoints" / "7" / "params")
        with pytest.raises(UserError, match="checkpoints/7: this checkpoint cannot be read"):
            checkpoints.read_metadata(manager, 7)
    assert tried == [5, 7]


def test_what_cannot_be_read_although_nothing_newer_came_is_an_error(two):
    def refuse(step):
        raise UserError(f"not {step}")

    with (
        checkpoints.open_manager(two, read_only=True) as manager,
        pytest.raises(UserError, match="not 5"),
    ):
        checkpoints.read_newest(manager, refuse)


def test_what_a_killed_writer_left_is_removed_by_the_next(copied):
    left = copied / "checkpoints" / "7.orbax-checkpoint-tmp"
    shutil.copytree(copied / "checkpoints" / "3", left)
    assert newest(copied) == 3
    assert left.exists(), "reading removes nothing"
    with checkpoints.open_manager(copied) as manager:
        checkpoints.save(manager, 7, ITEMS, METADATA)
    assert newest(copied) == 7
    assert not left.exists()


@pytest.mark.parametrize("limit", ["at the first byte", "in a later file"])
def test_a_full_disk_ends_the_write_and_destroys_nothing(two, limit):
    """A process whose files may not grow beyond a size gets EFBIG, as ENOSPC on a full disk."""
    size = {"at the first byte": 0, "in a later file": 300}[limit]
    program = FULL.format(root=str(ROOT), tests=str(ROOT / "tests"), directory=str(two), size=size)
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert re.search(r"^refused: .*cannot be written: no file may be so large .*kept", process.stdout), (
        process
    )
    assert sorted(p.name for p in (two / "checkpoints").iterdir() if p.name.isdigit()) == ["3", "5"]
    same(read(two)[1], make_items(5.0))
    with checkpoints.open_manager(two) as manager:  # there is room again
        checkpoints.save(manager, 7, ITEMS, METADATA)
    same(read(two)[1])


FULL = """
import resource, sys
from pathlib import Path
sys.path[:0] = ["{root}", "{tests}"]
import signal
from runs.test_checkpoints import METADATA, make_items
from hgad_jax.errors import UserError
from hgad_jax.runs import checkpoints
from hgad_jax.files import disk_errors

items = make_items(7.0)
directory = Path("{directory}")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    with (
        disk_errors(f"{{directory}} cannot be written", after="kept"),
        checkpoints.open_manager(directory) as manager,
    ):
        resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, resource.RLIM_INFINITY))
        checkpoints.save(manager, 7, items, METADATA)
except UserError as error:
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print("refused:", error, flush=True)
"""


def test_another_shape_is_refused_with_both(saved):
    wrong = ABSTRACT | {"constants": {"rotation": jax.ShapeDtypeStruct((5, 5), np.float32)}}
    with pytest.raises(UserError, match=r"rotation'\] is float32\[4, 4\], .* asks for float32\[5, 5\]"):
        read(saved, wrong)


def test_another_dtype_is_refused(saved):
    wrong = ABSTRACT | {"calibration": (jax.ShapeDtypeStruct((2,), np.float16),)}
    with pytest.raises(UserError, match=r"calibration\[0\] is float32\[2\], the config asks for float16"):
        read(saved, wrong)


def test_another_structure_is_refused(saved):
    wrong = ABSTRACT | {"params": ({"kernel": ABSTRACT["params"][0]["kernel"]},)}
    with pytest.raises(UserError, match=r"bias'\] is float32\[5\], the config asks for none"):
        read(saved, wrong)


def test_a_newer_format_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "FORMAT", checkpoints.FORMAT + 1)
    with checkpoints.open_manager(tmp_path) as manager:
        checkpoints.save(manager, 1, ITEMS, METADATA)
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"checkpoint format 3, this hgad_jax reads 1 and 2.*install"):
        read(tmp_path)


def test_edited_metadata_is_refused(copied):
    path = copied / "checkpoints" / "3" / "metadata" / "metadata"
    path.write_text(path.read_text().replace("nut", "nit"))
    with pytest.raises(UserError, match="metadata/metadata is damaged: its SHA-256"):
        read(copied)


def test_a_checkpoint_without_its_seal_is_refused(copied):
    (copied / "checkpoints" / "3" / "sha256.json").unlink()
    with pytest.raises(UserError, match=r"cannot be read.*sha256\.json"):
        read(copied)
