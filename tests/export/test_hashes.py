from torchless.folder.manifest import Manifest, Part, Variant
from torchless_export.hashes import Fault, faults, other_files, unlisted

SHA256_OF_A = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"


def test_each_file_is_hashed_once(tmp_path):
    (tmp_path / "onnx").mkdir()
    for name in ("onnx/model.onnx", "onnx/model.onnx_data", "onnx/other.onnx", "config.json", "torchless.json"):
        (tmp_path / name).write_text("a")
    data = Part(file="onnx/model.onnx_data", size_bytes=1, sha256="other")
    fp32 = Variant(parts=(Part(file="onnx/model.onnx", size_bytes=1, sha256=SHA256_OF_A), data))
    manifest = Manifest(task="fill-mask", source={}, versions={}, variants={"fp32": fp32})
    assert other_files(tmp_path, manifest) == {"config.json": SHA256_OF_A, "onnx/other.onnx": SHA256_OF_A}
    assert unlisted(tmp_path, manifest) == ["onnx/other.onnx"]
    assert list(faults(tmp_path, manifest)) == [
        Fault("onnx/model.onnx_data", f"was changed: its SHA-256 is {SHA256_OF_A}, and the manifest says other")
    ]
