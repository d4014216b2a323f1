import shutil
from pathlib import Path

import pytest

from torchless.folder.layout import MANIFEST_NAME
from torchless_export.staging import staged


@pytest.fixture
def out(tmp_path):
    return tmp_path / "models" / "out"


def write(out, text):
    with staged(out) as folder:
        (folder / MANIFEST_NAME).write_text(text)


def left_behind(out):
    return sorted(path.name for path in out.parent.iterdir())


def test_the_folder_appears_when_it_is_complete(out):
    write(out, "first")
    write(out, "second")
    assert (out / MANIFEST_NAME).read_text() == "second"
    assert left_behind(out) == ["out"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
def test_an_error_leaves_no_folder(out, error):
    def stopped():
        with staged(out) as folder:
            (folder / "half").touch()
            raise error

    with pytest.raises(error):
        stopped()
    assert left_behind(out) == []


def test_files_of_a_killed_export_are_no_obstacle(out):
    out.parent.mkdir()
    stale = out.parent / ".out.abc123.partial"
    stale.mkdir()
    write(out, "whole")
    assert (out / MANIFEST_NAME).read_text() == "whole"
    assert stale.is_dir()


def test_an_interrupt_between_the_two_renames_keeps_the_earlier_export(out, monkeypatch):
    write(out, "first")
    rename = Path.rename

    def interrupted(self, target):
        if self.suffix == ".partial":
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(out, "second")
    assert (out / MANIFEST_NAME).read_text() == "first"
    assert left_behind(out) == ["out"]


def test_a_second_interrupt_does_not_stop_the_removal(out, monkeypatch):
    rmtree = shutil.rmtree
    interrupts = [KeyboardInterrupt()]

    def impatient(folder, **options):
        if interrupts:
            raise interrupts.pop()
        rmtree(folder, **options)

    monkeypatch.setattr(shutil, "rmtree", impatient)
    with pytest.raises(KeyboardInterrupt), staged(out):
        raise KeyboardInterrupt
    assert left_behind(out) == []
