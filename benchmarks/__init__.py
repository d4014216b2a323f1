"""Benchmarks against the PyTorch pipeline. Ratios are taken within one run; absolute times are the machine's."""
