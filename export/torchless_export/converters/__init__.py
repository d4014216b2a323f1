"""The conversion of a loaded model to ONNX files, with the names of inputs and outputs that the runtime expects.

It may import `torchless_export.source`, `torchless_export.graph` and optimum, which no other package imports.
"""
