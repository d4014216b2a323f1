"""Rows of any number of inputs and callers, planned into batches by length."""
