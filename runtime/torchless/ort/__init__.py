"""ONNX Runtime: graphs, loaded and run. The one package that imports onnxruntime.

It may import `errors` and `folder`.
"""

import os

# Its builds report their use to Microsoft, and keep an identifier in the home folder, unless told not to before they load.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
