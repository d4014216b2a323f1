"""Rows of any number of inputs and callers, planned into batches by their length, and run.

It may import `models` and what `models` may import.
"""
