import os
import platform
import subprocess
import sys

import pytest

# Small blocks between the large ones: glibc cannot give back what is not at the end of its heap.
SCRIPT = """
import sys
from torchless.server.allocator import return_large_blocks

def resident_mb():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 1e6

if sys.argv[1] == "returned":
    return_large_blocks()
largest = bytearray(16 << 20)
del largest
before = resident_mb()
blocks = [(bytearray(1 << 20), bytearray(4096)) for _ in range(64)]
kept = [small for _, small in blocks]
del blocks
print(resident_mb() - before)
"""


def growth_mb(mode, **environment):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, mode],
        capture_output=True, text=True, check=True, timeout=60, env={**os.environ, **environment},
    )  # fmt: skip
    return float(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator of glibc")
def test_large_blocks_are_returned():
    assert growth_mb("kept") > 40
    assert growth_mb("returned") < 10
    assert growth_mb("returned", MALLOC_MMAP_THRESHOLD_="33554432") > 40
