"""Preparing once, whatever happens meanwhile, and reading what was prepared."""

import concurrent.futures
import json
import os
import pathlib
import pickle
import shutil
import signal
import subprocess
import sys
import time

import pytest
import tensorflow_datasets as tfds
from dataset_trees import draw, load, mvtec_ad, shrink

from hgad_jax.config import get_config
from hgad_jax.data import load_dataset, prepare
from hgad_jax.data.__main__ import main
from hgad_jax.data.datasets import builder, index, stored
from hgad_jax.data.records import read_image_file
from hgad_jax.errors import UserError


@pytest.fixture
def tree(tmp_path, monkeypatch):
    shrink(monkeypatch, "mvtec_ad")
    return mvtec_ad(tmp_path / "tree")


@pytest.fixture
def prepared(tmp_path):
    return tmp_path / "prepared"


def read_all(records):
    return [read_image_file(record.path) for record in records]


def final(prepared):
    return prepared / "mvtec_ad" / "1.0.0"


def test_what_is_prepared_is_a_dataset_of_tfds(tree, prepared):
    load("mvtec_ad", tree, prepared)
    made = tfds.builder_from_directory(final(prepared))
    info = made.info
    assert "bergmann2019mvtec" in info.citation
    assert info.homepage.startswith("https://www.mvtec.com/")
    assert "CC BY-NC-SA 4.0" in (final(prepared) / "LICENSE").read_text()
    assert {name: split.num_examples for name, split in info.splits.items()} == {"train": 7, "test": 10}
    example = made.as_data_source("test")[0]
    assert example["image"].shape == (8, 12, 3)
    assert [mask.shape for mask in example["mask"]] == [(8, 12, 1)]
    assert info.features["label"].int2str(example["label"]) == "bottle"
    assert example["name"] == b"bottle/test/bent/000.png"
    assert len(made.as_data_source("train[:2]")[0]["mask"]) == 0


def test_a_builder_alone_unpacks_too(tree, prepared, tmp_path):
    made = prepare._builder("mvtec_ad")(data_dir=prepared)
    made.download_and_prepare(
        download_dir=tmp_path / "downloads",
        download_config=tfds.download.DownloadConfig(manual_dir=tree),
    )
    assert len(made.as_data_source("train")) == 7


def test_files_hold_so_many_examples(tree, prepared, monkeypatch):
    whole = load("mvtec_ad", tree, prepared)
    monkeypatch.setattr(builder, "_SHARD_EXAMPLES", 2)
    shards = load("mvtec_ad", tree, prepared.with_name("shards"))
    assert len(list(final(prepared.with_name("shards")).glob("*train*"))) == 4
    for record, other in zip(whole.train + whole.test, shards.train + shards.test, strict=True):
        assert read_image_file(record.path) == read_image_file(other.path)


def test_prepared_once(tree, prepared, monkeypatch):
    first = load("mvtec_ad", tree, prepared)
    monkeypatch.setattr(prepare, "_prepare", lambda *_: pytest.fail("prepared again"))
    assert load("mvtec_ad", tree, prepared) == first


def test_downloaded_files_may_go_once_prepared(tree, prepared):
    first = load("mvtec_ad", tree, prepared)
    tree.rename(tree.with_name("gone"))
    assert load("mvtec_ad", tree, prepared) == first
    assert load("mvtec_ad", "", prepared) == first


def test_prepared_datasets_may_lie_among_what_was_downloaded(tree, tmp_path):
    """An archive is unpacked there for a while."""
    root = tmp_path / "root"
    root.mkdir()
    shutil.make_archive(root / "mvtec_ad", "tar", tree)
    first = load("mvtec_ad", root, root / "prepared")
    assert load("mvtec_ad", root, root / "prepared") == first
    for place in (root, root / "mvtec_ad"):  # beside the archive
        place.mkdir(exist_ok=True)
        (root / "mvtec_ad.tar").rename(place / "images.tar")
        second, third = (load("mvtec_ad", place, root) for _ in range(2))
        assert second == third
        assert read_all(second.test) == read_all(first.test)
        (place / "images.tar").rename(root / "mvtec_ad.tar")
        shutil.rmtree(root / "mvtec_ad" / "1.0.0")


def test_other_files_than_the_prepared_ones_are_noticed(tree, prepared):
    load("mvtec_ad", tree, prepared)
    (tree / "notes.txt").write_text("of no importance")
    load("mvtec_ad", tree, prepared)
    draw(tree / "bottle" / "train" / "good" / "000.png", size=(99, 99))
    with pytest.raises(UserError, match=r"was prepared from other files.*Delete it.*prepared_dir"):
        load("mvtec_ad", tree, prepared)


def test_links_in_a_circle_are_followed_once(tree, prepared, monkeypatch):
    (tree / "bottle" / "again").symlink_to(tree)
    load("mvtec_ad", tree, prepared)
    sizes, getsize = [], os.path.getsize
    monkeypatch.setattr(os.path, "getsize", lambda path: sizes.append(path) or getsize(path))
    index.source_key(str(tree), (".png",))
    assert len(sizes) == len(list(tree.rglob("*.png")))


def test_neither_prepared_nor_downloaded(prepared, tmp_path):
    with pytest.raises(UserError, match=r"(?s)not prepared yet, and config\.data\.root is empty.*train/good"):
        load("mvtec_ad", "", prepared)
    (tmp_path / "empty").mkdir()
    for root in ("empty", "nowhere"):
        with pytest.raises(UserError, match=rf"(?s)'.*{root}' is no folder with it.*www\.mvtec\.com"):
            load("mvtec_ad", tmp_path / root, prepared)


SLOW = """
import sys, time
sys.path.insert(0, {tests!r})
from dataset_trees import MVTEC_AD, load
from hgad_jax.data import prepare
from hgad_jax.data.datasets import spec
builder = prepare._builder("mvtec_ad")
def slow(item):
    print("reading", flush=True)
    time.sleep({seconds})
    yield from spec.read_picture(item)
builder.spec = builder.spec._replace(
    classes=tuple(MVTEC_AD), problems=spec.compare_with(MVTEC_AD), pictures=slow
)
print(len(load("mvtec_ad", {tree!r}, {prepared!r}).train), "training images")
"""


def start(tree, prepared, seconds, *, first=""):
    script = first + SLOW.format(
        tests=str(pathlib.Path(__file__).parents[1]),
        tree=str(tree),
        prepared=str(prepared),
        seconds=seconds,
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "reading\n", process.communicate()[1]
    return process


def test_a_killed_preparation_leaves_nothing_that_looks_whole(tree, prepared):
    process = start(tree, prepared, 60)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    leftovers = list((prepared / "mvtec_ad").glob("incomplete.*"))
    assert len(leftovers) == 1
    assert not final(prepared).exists()
    dataset = load("mvtec_ad", tree, prepared)
    assert len(dataset.train) == 7
    assert [path.name for path in (prepared / "mvtec_ad").iterdir()] == ["1.0.0"], "leftovers are removed"


def test_of_two_processes_one_prepares_and_the_other_waits(tree, prepared, monkeypatch):
    process = start(tree, prepared, 0.1)
    monkeypatch.setattr(prepare, "_prepare", lambda *_: pytest.fail("prepared twice"))
    dataset = load("mvtec_ad", tree, prepared)
    assert len(dataset.train) == 7
    out, err = process.communicate()
    assert out.endswith("7 training images\n"), err


def test_an_interrupted_preparation_cleans_up(tree, prepared, monkeypatch):
    def interrupted(item):
        raise KeyboardInterrupt
        yield

    made = prepare._builder("mvtec_ad")
    monkeypatch.setattr(made, "spec", made.spec._replace(pictures=interrupted))
    with pytest.raises(KeyboardInterrupt):
        load("mvtec_ad", tree, prepared)
    assert list((prepared / "mvtec_ad").iterdir()) == []


def test_a_prepared_dir_that_cannot_be_written(tree, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot be prepared in '.*file/below'.*config\.data\.prepared_dir"):
        load("mvtec_ad", tree, tmp_path / "file" / "below")


def test_a_disk_without_room_is_told_before_anything_is_written(tree, prepared, monkeypatch):
    usage = shutil.disk_usage(tree)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=100))
    with pytest.raises(
        UserError, match=r"cannot be prepared in .*full \(0 MB are needed there\)\. Make room"
    ):
        load("mvtec_ad", tree, prepared)
    assert list((prepared / "mvtec_ad").iterdir()) == []


def test_a_disk_that_refuses_to_write_leaves_nothing(tree, prepared):
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (90_000, 90_000))\n"
    process = start(tree, prepared, 0, first=limited)
    error = process.communicate()[1]
    assert process.returncode == 1
    assert "UserError: The dataset cannot be prepared in" in error
    assert "File too large" in error
    assert list((prepared / "mvtec_ad").iterdir()) == []


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"format": 99}'])
def test_a_damaged_list_is_named(tree, prepared, content):
    load("mvtec_ad", tree, prepared)
    (final(prepared) / "records.json").write_text(content)
    with pytest.raises(UserError, match=r"1\.0\.0' cannot be used \(records\.json.*Delete that folder"):
        load("mvtec_ad", tree, prepared)


@pytest.mark.parametrize("damage", ["gone", "empty", "cut", "cut at a block", "changed", "another"])
def test_damaged_files_are_named_when_they_are_read(tree, prepared, damage):
    dataset = load("mvtec_ad", tree, prepared)
    (path,) = final(prepared).glob("*train*")
    (other,) = final(prepared).glob("*test*")
    whole = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    elif damage == "changed":
        whole[3000] ^= 1
        path.write_bytes(whole)
    elif damage == "another":
        path.write_bytes(other.read_bytes())
    else:
        path.write_bytes(whole[: {"empty": 0, "cut": 70_000, "cut at a block": 65_536}[damage]])
    with pytest.raises(UserError, match=r"1\.0\.0' is damaged: .*Delete that folder") as error:
        read_all(dataset.train)
    assert ("it is not in its place" in str(error.value)) == (damage in ("another", "cut at a block"))


def test_opened_once_by_many_threads_and_not_before(tree, prepared, monkeypatch):
    opened, builder_from_directory = [], tfds.builder_from_directory

    def counted(folder):
        opened.append(folder)
        time.sleep(0.05)  # time for another thread to come
        return builder_from_directory(folder)

    monkeypatch.setattr(stored.tfds, "builder_from_directory", counted)
    dataset = load("mvtec_ad", tree, prepared)
    assert opened == []
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda record: read_image_file(record.path), dataset.train * 20))
    assert opened == [str(final(prepared))]
    assert found[: len(dataset.train)] == [read_image_file(record.path) for record in dataset.train]


def test_another_process_reads_records_it_is_sent(tree, prepared):
    path = load("mvtec_ad", tree, prepared).train[1].path
    script = (
        "import pickle, sys; from hgad_jax.data.records import read_image_file; "
        "sys.stdout.buffer.write(read_image_file(pickle.load(sys.stdin.buffer)))"
    )
    command = [sys.executable, "-c", script]
    found = subprocess.run(command, input=pickle.dumps(path), stdout=subprocess.PIPE, check=True)
    assert found.stdout == read_image_file(path)


def test_users_of_folders_do_not_import_tfds(tree):
    script = (
        "import sys; from hgad_jax.data import folder, load_dataset, pipeline, transforms; "
        f"records = folder.load({str(tree)!r}).train; "
        "next(pipeline.image_batches(records, transform=transforms.Transform(8), batch_size=2)); "
        "sys.exit(bool({'tensorflow_datasets', 'av'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_config_names_dataset_root_and_prepared_dir(tree, prepared):
    config = get_config("hgad_folder").data
    config.update(name="mvtec_ad", root=str(tree), prepared_dir=str(prepared))
    dataset = load_dataset(config)
    assert dataset == load("mvtec_ad", tree, prepared)


def test_the_default_is_the_users_cache(tree, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    load("mvtec_ad", tree, "")
    assert final(tmp_path / "cache" / "hgad_jax" / "datasets").is_dir()
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    load("mvtec_ad", tree, "")
    assert final(tmp_path / "home" / ".cache" / "hgad_jax" / "datasets").is_dir()


def test_the_users_cache_can_be_elsewhere(tree, tmp_path, monkeypatch):
    monkeypatch.setenv("HGAD_JAX_CACHE", str(tmp_path / "elsewhere"))
    load("mvtec_ad", tree, "")
    assert final(tmp_path / "elsewhere" / "datasets").is_dir()


def test_one_that_an_earlier_version_did_not_prepare_there_is_pointed_to(tree, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    load("mvtec_ad", tree, "")
    monkeypatch.setenv("HGAD_JAX_CACHE", str(tmp_path / "elsewhere"))
    before, now = (final(tmp_path / name / "datasets") for name in ("cache/hgad_jax", "elsewhere"))
    with pytest.raises(UserError, match=rf"not prepared yet(?s:.*)mv '{before}' '{now}'$"):
        load("mvtec_ad", "", "")
    now.parent.mkdir(parents=True)
    before.rename(now)
    assert len(load("mvtec_ad", "", "").train) == 7


HOMELESS = """
import sys
from hgad_jax.data.__main__ import main
status = main(["prepare", "mvtec_ad", f"--root={sys.argv[1]}", "--allow-partial"])
import jax, jax.numpy as jnp
from hgad_jax.runs import host
host.keep_compiled()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.jit(jnp.sin)(1.0)
sys.exit(status)
"""


def test_nothing_is_kept_in_the_home_folder_when_the_cache_is_elsewhere(tree, tmp_path):
    (tmp_path / "home").mkdir()
    mine = {"HOME": str(tmp_path / "home"), "HGAD_JAX_CACHE": str(tmp_path / "cache")}
    others = ("JAX_COMPILATION_CACHE_DIR", "XDG_CACHE_HOME", "TFDS_DATA_DIR")
    environment = {key: value for key, value in os.environ.items() if key not in others} | mine
    command = [sys.executable, "-c", HOMELESS, str(tree)]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert not list((tmp_path / "home").iterdir())
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {"compiled", "datasets"}


def test_command(tree, prepared, capsys):
    arguments = ["prepare", "mvtec_ad", f"--root={tree}", f"--prepared-dir={prepared}"]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert out.startswith("mvtec_ad: 3 classes")
    assert "bottle: 3 training, 1 good and 3 defective test images" in out
    (tree / "bottle" / "train" / "good" / "000.png").unlink()
    prepared.rename(prepared.with_name("old"))
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "bottle: 2 training images instead of 3" in error
    assert main([*arguments, "--allow-partial"]) == 0


def test_listing_is_by_index_alone(tree, prepared):
    load("mvtec_ad", tree, prepared)
    contents = json.loads((final(prepared) / "records.json").read_text())
    assert contents["splits"]["train"][0] == ["bottle/train/good/000.png", "bottle", "good", False]
    assert contents["differences"] == []
