"""The variants of a graph: float16, and 8-bit and 4-bit weights.

It may import the runtime, `torchless_export.graph`, `torchless_export.verification` and ONNX Runtime's tools.
"""
