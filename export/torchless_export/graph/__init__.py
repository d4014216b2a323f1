"""ONNX graphs, read and rewritten."""
