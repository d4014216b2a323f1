"""From a loaded model to ONNX files, with the input and output names that the runtime reads."""
