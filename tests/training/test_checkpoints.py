"""A checkpoint comes back bit for bit, or not at all and with the reason."""

import gc
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hgad_jax.errors import UserError
from hgad_jax.training import checkpoints

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


def test_a_part_can_be_restored_alone(saved):
    _, found = read(saved, {"params": ABSTRACT["params"]})
    same(found, {"params": ITEMS["params"]})


def test_what_many_devices_wrote_can_be_read_onto_one(tmp_path):
    mesh = jax.make_mesh((8,), ("data",))
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


def test_a_missing_item_is_named_and_the_older_checkpoint_offered(copied):
    with checkpoints.open_manager(copied) as manager:
        checkpoints.save(manager, 5, ITEMS, METADATA)
    shutil.rmtree(copied / "checkpoints" / "5" / "params")
    with pytest.raises(UserError, match=r"checkpoints/5: .*cannot be read.*go on from step 3"):
        read(copied)
    shutil.rmtree(copied / "checkpoints" / "5")
    same(read(copied)[1])


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
    with pytest.raises(UserError, match=r"checkpoint format 2, this hgad_jax reads 1.*install"):
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
