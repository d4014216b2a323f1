"""The variants of a graph: float16, 8-bit and 4-bit weights."""
