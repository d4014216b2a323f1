"""Benchmarks against the peers. Ratios are taken within one run; absolute times are the machine's."""
