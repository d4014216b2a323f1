"""The plots of stored figures."""

from benchmarks.plots import COLOURS, draw
from benchmarks.suites import cold_start, generation, latency


def test_each_measured_suite_has_a_png_and_an_svg(results):
    drawn = draw(results)
    assert {path.name for path in drawn} == {
        f"{name}.{ending}"
        for name in ("latency_by_length", "cold_start", "memory", "tokens_per_second")
        for ending in ("png", "svg")
    }
    assert all(path.stat().st_size > 1000 for path in drawn)


def test_each_peer_has_a_different_colour():
    assert {peer.name for peer in (*latency.PEERS, *cold_start.PEERS, *generation.GPT2)} <= COLOURS.keys()
    assert len(set(COLOURS.values())) == len(COLOURS)
