import io
import os
import stat
import tarfile
import zipfile

import pytest
from dataset_trees import member

from hgad_jax.data.datasets.archives import archives, unpack
from hgad_jax.errors import UserError


def tar(path, *members, mode="w"):
    with tarfile.open(path, mode) as packed:
        for info, content in members:
            packed.addfile(info, content if info.isreg() else None)
    return str(path)


def zipped(path, *names, mode=0):
    with zipfile.ZipFile(path, "w") as packed:
        for name in names:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            packed.writestr(info, "content")
    return str(path)


def found(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a" / "folder").mkdir(parents=True)
    return tmp_path / "a" / "folder"


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".zip"])
def test_wanted_files_are_unpacked_and_others_passed_over(tmp_path, folder, suffix):
    names = [
        *("a/1.png", "a/b/2.PNG", "./3.png", "a/notes.txt", "a/depth.tiff"),
        *("__MACOSX/a/1.png", "a/._1.png", ".git/5.png"),
    ]
    path = tmp_path / f"data{suffix}"
    if suffix == ".zip":
        zipped(path, *names)
    else:
        compression = {"tgz": "gz", "tar": ""}.get(suffix.split(".")[-1], suffix.split(".")[-1])
        tar(path, *map(member, names), mode=f"w:{compression}")
    assert archives(str(tmp_path)) == [str(path)]
    unpack(str(path), str(folder), (".png",))
    assert found(folder) == ["3.png", "a/1.png", "a/b/2.PNG"]
    assert (folder / "a" / "1.png").read_bytes() == b"content"


EVIL = ["../evil.png", "a/../../evil.png", "/tmp/evil.png", "a\\..\\evil.png", "c:evil.png"]


@pytest.mark.parametrize("kind", ["tar", "zip"])
@pytest.mark.parametrize("name", EVIL)
def test_names_that_leave_the_folder_are_refused(tmp_path, folder, kind, name):
    path = tmp_path / f"data.{kind}"
    if kind == "zip":
        zipped(path, "1.png", name)
    else:
        tar(path, member("1.png"), member(name))
    with pytest.raises(UserError, match=rf"data\.{kind}' was not unpacked: .*evil\.png' leads out of"):
        unpack(str(path), str(folder), (".png",))
    assert found(tmp_path) in ([f"data.{kind}"], ["a/folder/1.png", f"data.{kind}"])


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(tmp_path, folder, kind):
    path = tar(tmp_path / "data.tar", member("1.png", type=kind, linkname="/etc/passwd", size=0))
    with pytest.raises(UserError, match=r"data\.tar' was not unpacked: '1\.png' is no ordinary file"):
        unpack(path, str(folder), (".png",))
    assert found(folder) == []


def test_links_in_a_zip_are_refused(tmp_path, folder):
    path = zipped(tmp_path / "data.zip", "1.png", mode=stat.S_IFLNK | 0o777)
    with pytest.raises(UserError, match=r"data\.zip' was not unpacked: '1\.png' is no ordinary file"):
        unpack(path, str(folder), (".png",))
    assert found(folder) == []


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tar.xz", ".zip"])
@pytest.mark.parametrize("damage", ["cut", "text", "empty"])
def test_damaged_archives_are_named(tmp_path, folder, suffix, damage):
    path = tmp_path / f"data{suffix}"
    if suffix == ".zip":
        zipped(path, *(f"{i}.png" for i in range(99)))
    else:
        compression = suffix.split(".")[-1].replace("tar", "")
        noise = [(info := tarfile.TarInfo(f"{i}.png"), io.BytesIO(os.urandom(5000))) for i in range(9)]
        for info, _ in noise:
            info.size = 5000
        tar(path, *noise, mode=f"w:{compression}")
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[: len(whole) // 2], "text": b"not found" * 99, "empty": b""}[damage])
    with pytest.raises(UserError, match=rf"data{suffix}' cannot be unpacked.*download it again"):
        unpack(str(path), str(folder), (".png",))


def test_a_folder_may_be_called_like_an_archive(tmp_path):
    (tmp_path / "data.zip").mkdir()
    assert archives(str(tmp_path)) == []
