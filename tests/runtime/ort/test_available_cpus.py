import os

import pytest

from torchless.ort.available_cpus import available_cpus

MACHINE = 4


@pytest.mark.parametrize(
    ("files", "groups", "cpus"),
    [
        ({"cpu.max": "max 100000"}, "0::/", MACHINE),
        ({"cpu.max": "100000 100000"}, "0::/", 1),
        ({"cpu.max": "50000 100000"}, "0::/", 1),
        ({"cpu.max": "150000 100000"}, "0::/", 2),
        ({"cpu.max": "900000 1000"}, "0::/", MACHINE),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, "4:cpu,cpuacct:/", MACHINE),
        ({"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, None, 1),
        ({"a.slice/b.scope/cpu.max": "200000 100000"}, "0::/a.slice/b.scope", 2),
        ({"a.slice/cpu.max": "300000 100000", "a.slice/b/cpu.max": "max 100000"}, "0::/a.slice/b", 3),
        ({"cpu/g/cpu.cfs_quota_us": "200000", "cpu/g/cpu.cfs_period_us": "100000"}, "7:memory:/g\n4:cpu:/g", 2),
        ({"elsewhere/cpu.max": "100000 100000"}, "0::/../elsewhere", MACHINE),
        ({}, None, MACHINE),
    ],
)
def test_quota_and_affinity(files, groups, cpus, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(MACHINE)))
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    if groups is not None:
        (tmp_path / "groups").write_text(groups)
    assert available_cpus(tmp_path, tmp_path / "groups") == cpus
