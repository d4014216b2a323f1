"""Batching: rows of any number of inputs and callers are grouped into batches by length, and run.

It may import `models` and what `models` may import.
"""
