"""Files are there whole or not at all, whatever happens to their writer."""

import os
import subprocess
import sys
import threading

import pytest

import flatprop as fp
from flatprop.export import writing
from flatprop.export.writing import write_in_one_step


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_content_and_rename_reach_the_disk_in_this_order(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor):
        done.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "content")
        fsync(descriptor)

    def replaced(*arguments, **options):
        done.append("rename")
        replace(*arguments, **options)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    write_in_one_step(tmp_path / "file", b"content")
    assert done[0] == "content"
    assert done[1] == "rename"
    if sys.platform == "linux":
        assert done == ["content", "rename", "folder"]


@pytest.mark.parametrize("length", [1, 100, 255])
def test_names_of_any_length(tmp_path, length):
    path = tmp_path / ("n" * length)
    for content in (b"one", b"two"):
        write_in_one_step(path, content)
        assert path.read_bytes() == content
    assert names(tmp_path) == [path.name]


KILLED = """
import os, signal, sys
from pathlib import Path
from flatprop.export import writing
Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
writing.write_in_one_step(sys.argv[1], b"half")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGKILL")
def test_what_a_killed_writer_left_is_swept(tmp_path):
    path = tmp_path / "net"
    write_in_one_step(path, b"before")
    for _ in range(2):
        subprocess.run([sys.executable, "-c", KILLED, path], check=False)
    assert len(names(tmp_path)) == 2  # the second removed what the first had left
    assert path.read_bytes() == b"before"
    write_in_one_step(tmp_path / "other", b"")
    assert len(names(tmp_path)) == 3  # it is not a writer of this name that was killed
    write_in_one_step(path, b"after")
    assert names(tmp_path) == ["net", "other"]
    assert path.read_bytes() == b"after"


@pytest.mark.skipif(writing.fcntl is None, reason="locks are of POSIX")
def test_what_another_writer_is_writing_stays(tmp_path, monkeypatch):
    path, fsync = tmp_path / "net", os.fsync

    def others_write(descriptor):
        monkeypatch.setattr(os, "fsync", fsync)
        write_in_one_step(path, b"another")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", others_write)
    write_in_one_step(path, b"the last")
    assert path.read_bytes() == b"the last"
    assert names(tmp_path) == ["net"]


def test_many_writers_of_one_name(tmp_path, monkeypatch):
    # Eight of them have to wait for a name. They wait for longer here, and for no disk.
    sleep = writing.time.sleep
    monkeypatch.setattr(writing.time, "sleep", lambda seconds: sleep(10 * seconds))
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    path = tmp_path / "net"
    contents = [bytes([number]) * 10_000 for number in range(24)]
    errors = []

    def write(content):
        try:
            for _ in range(8):
                write_in_one_step(path, content)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert path.read_bytes() in contents
    assert names(tmp_path) == ["net"]


def test_a_failure_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "net"
    write_in_one_step(path, b"before")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_in_one_step(path, b"after")
    assert names(tmp_path) == ["net"]
    assert path.read_bytes() == b"before"


def test_what_is_no_file_is_not_replaced(tmp_path):
    with pytest.raises(IsADirectoryError, match="is a folder"):
        fp.Network(1, [fp.Dense(1)]).save(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(FileExistsError, match="not a regular file"):
            write_in_one_step(tmp_path / "pipe", b"")
        with pytest.raises(FileNotFoundError, match="not a regular file"):
            fp.load(tmp_path / "pipe")


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_temporary_name_that_is_a_link_is_not_followed(tmp_path, monkeypatch):
    (tmp_path / "victim").write_bytes(b"precious")
    for place in writing._places(tmp_path / "net"):
        place.symlink_to(tmp_path / "victim")
    monkeypatch.setattr(writing.time, "sleep", lambda seconds: None)
    with pytest.raises(FileExistsError, match="others are writing"):
        write_in_one_step(tmp_path / "net", b"content")
    assert (tmp_path / "victim").read_bytes() == b"precious"


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_links_that_lead_to_each_other(tmp_path):
    (tmp_path / "one").symlink_to(tmp_path / "other")
    (tmp_path / "other").symlink_to(tmp_path / "one")
    with pytest.raises(OSError, match=r"(?i)symlink|symbolic"):
        write_in_one_step(tmp_path / "one", b"content")


def test_files_that_belong_together(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "a").write_bytes(b"before")
    with pytest.raises(IsADirectoryError):
        writing.write_together({tmp_path / "a": b"after", tmp_path / "b": b"after"})
    assert (tmp_path / "a").read_bytes() == b"before"
    writing.write_together({tmp_path / "a": b"1", tmp_path / "c": b"2"})
    assert names(tmp_path) == ["a", "b", "c"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(PermissionError, match=r"/net'"):
            write_in_one_step(tmp_path / "net", b"")
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="where nobody may write a file")
def test_the_error_names_the_file_that_is_meant():
    with pytest.raises(OSError, match=r"/proc/\d+/net\.file'"):
        write_in_one_step("/proc/self/net.file", b"")
