"""ONNX graphs: their files, and the rewriting that makes an exporter's graphs faster to run.

It may import `torchless.errors`, `onnx` and ONNX Runtime's tools; no other package of the export.
"""
