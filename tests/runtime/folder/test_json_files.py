import os

import pytest

from torchless import CheckpointError
from torchless.folder.json_files import check_file, is_file, read_json, read_json_list, read_text


def test_an_object_and_an_array(tmp_path):
    (tmp_path / "object.json").write_text('{"x": 1}')
    (tmp_path / "array.json").write_text('[{"x": 1}]')
    assert read_json(tmp_path / "object.json") == {"x": 1}
    assert read_json_list(tmp_path / "array.json") == [{"x": 1}]


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '"text"', "5", "NaN", "[" * 100_000, '{"x": ' * 100_000, "9" * 5000, "\x00", '{"x": "\\ud800"}'],
)
def test_what_is_no_object(tmp_path, content):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(CheckpointError, match="x.json"):
        read_json(tmp_path / "x.json")


@pytest.mark.parametrize("content", ["{}", "[5]", "[[]]", "[" * 100_000 + "]" * 100_000])
def test_what_is_no_array_of_objects(tmp_path, content):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(CheckpointError, match="x.json"):
        read_json_list(tmp_path / "x.json")


def test_what_is_no_text(tmp_path):
    (tmp_path / "x.json").write_bytes(b"\xff\xfe")
    with pytest.raises(CheckpointError, match="is not text in UTF-8"):
        read_text(tmp_path / "x.json")


def test_a_file_that_is_too_large(tmp_path):
    with (tmp_path / "x.json").open("wb") as file:
        file.truncate(10**10)  # a file with a hole
    with pytest.raises(CheckpointError, match="has 10000 MB"):
        read_json(tmp_path / "x.json")


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda path: path.mkdir(), "is a folder, and must be a file"),
        (os.mkfifo, "is a pipe or a device"),
        (lambda path: path.symlink_to("/dev/zero"), "is a pipe or a device"),
        (lambda path: path.symlink_to("nowhere"), "is a link to a file that does not exist"),
        (lambda path: path.symlink_to(path.name), "is a link to a file that does not exist"),
    ],
)
def test_what_is_no_file(tmp_path, make, problem):
    path = tmp_path / "x.json"
    make(path)
    assert not is_file(path)
    for read in (check_file, read_json, read_text):
        with pytest.raises(CheckpointError, match=problem):
            read(path)


def test_a_file_that_nobody_may_read(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "x.json").write_text("{}")
    monkeypatch.setattr("pathlib.Path.read_text", refuse)
    with pytest.raises(CheckpointError, match="x.json cannot be read: Permission denied"):
        read_json(tmp_path / "x.json")


def test_a_name_that_is_no_name(tmp_path):
    assert not is_file(tmp_path / "\x00")
