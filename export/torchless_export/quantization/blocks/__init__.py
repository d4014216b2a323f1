"""The q8 and q4 variants of decoders: weights in blocks with a scale each, for ONNX Runtime's `MatMulNBits`.

It may import `torchless_export.graph` and the modules of `torchless_export.quantization` that all variants share.
"""
