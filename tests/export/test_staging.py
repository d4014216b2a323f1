import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from torchless import ExportError
from torchless.folder.layout import MANIFEST_NAME
from torchless_export.staging import check_destination, staged


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


@pytest.mark.parametrize("name", ["out", "m[x]*"])
def test_what_a_killed_export_left_is_removed(out, name):
    out = out.with_name(name)
    out.parent.mkdir()
    for stale in ("abc123.partial", "abc123.replaced", "xyz.replaced"):
        (out.parent / f".{name}.{stale}").mkdir()
    others = [".other.abc123.partial", f".{name}.abc123.mine"]
    for other in others:
        (out.parent / other).mkdir()
    write(out, "whole")
    assert (out / MANIFEST_NAME).read_text() == "whole"
    assert left_behind(out) == sorted([*others, name])


def test_an_export_that_runs_keeps_its_folder(out):
    with staged(out) as first:
        write(out, "second")
        assert first.is_dir()
        (first / MANIFEST_NAME).write_text("first")
    assert (out / MANIFEST_NAME).read_text() == "first"
    assert left_behind(out) == ["out"]


def test_a_process_that_is_killed(out):
    script = f"""
import os
from pathlib import Path
from torchless import ExportError
from torchless_export.staging import check_destination, staged
with staged(Path({str(out)!r})) as folder:
    (folder / "half").touch()
    os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    assert len(left_behind(out)) == 1
    write(out, "whole")
    assert left_behind(out) == ["out"]


def test_an_export_that_was_killed_between_the_two_renames(out):
    write(out, "first")
    out.rename(out.with_name(".out.abc123.replaced"))
    out.with_name(".out.abc123.partial").mkdir()

    def stopped():
        with staged(out):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert (out / MANIFEST_NAME).read_text() == "first"
    assert left_behind(out) == ["out"]


def test_a_full_disk(out):
    def fill():
        with staged(out):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(ExportError, match="cannot be written: No space left on device"):
        fill()
    assert left_behind(out) == []


def test_a_link_that_leads_nowhere(out):
    out.parent.mkdir()
    out.symlink_to("nowhere")
    with pytest.raises(ExportError, match="is not an export of torchless"):
        check_destination(out)


def test_a_link_to_an_earlier_export(out):
    write(out, "first")
    link = out.with_name("link")
    link.symlink_to(out)
    write(link, "second")
    assert link.is_symlink()
    assert (out / MANIFEST_NAME).read_text() == "second"
    assert left_behind(out) == ["link", "out"]


@pytest.mark.parametrize("below", ["out", "out/in/it"])
def test_a_folder_in_a_file(out, below):
    out.parent.mkdir()
    (out.parent / "file").touch()
    with pytest.raises(ExportError, match="file is not a folder"):
        check_destination(out.parent / "file" / below)


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
