"""ONNX Runtime sessions: the package loads and runs graphs, and is the only package of the runtime that imports onnxruntime.

It may import `torchless.errors` and `torchless.folder`.
"""

import os

# Builds of ONNX Runtime report their use to Microsoft, and store an identifier in the home folder, unless this is set before
# the import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
