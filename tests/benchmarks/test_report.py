"""The report of stored figures."""

from benchmarks.report import render
from benchmarks.table import Table


def test_the_report_has_tables_conditions_and_goals(results):
    text = render(results)
    assert "A shape. A CPU, 2 threads per peer, load 0.50 before; Python 3.11.7, torch 2." in text
    assert "| torchless, q8 | 2.00 (2.00–2.00) | 2.00 (2.00–2.00) |" in text
    assert "| torchless, q8 | 10.62× | 10.62× |" in text
    assert "| optimum, fp32 | – | – |" in text
    assert "Skipped: OpenVINO, int8, not installed." in text
    assert "Failed: optimum, int8: ValueError: no" in text
    assert "| latency: 16 tokens, q8, vs transformers.pipeline | ≥ 7× | 10.6× | met |" in text
    assert "| latency: 16 tokens, fp32, vs transformers.pipeline | ≥ 2.5× | – | not measured |" in text


def test_the_report_has_tokens_per_second_and_the_profile_of_a_call(results):
    text = render(results)
    assert "| torchless, q8 | 160 (160–160) | 5.00× | – | – |" in text
    assert "| torchless, q8 | 160 | 800 | 5.00× |" in text
    assert "| torchless, q8 | 5.0% | +0.10% |" in text
    assert "| generation: GPT-2 small's shape, q8, vs PyTorch | ≥ 5× | 5× | met |" in text
    assert "| generation: share of the time outside of ONNX Runtime, q8 | ≤ 0.06 | 0.05 | met |" in text


def test_suites_that_were_not_measured_are_left_out(results):
    text = render(results)
    assert "## Latency" in text
    assert "## Cold start" in text
    assert "throughput" not in text.lower()


def test_a_markdown_table_has_right_aligned_figures():
    table = Table(title="T", header=("", "ms"), rows=[("a", "1")])
    assert table.markdown() == "|  | ms |\n| --- | ---: |\n| a | 1 |"
