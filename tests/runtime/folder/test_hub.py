"""Names on the Hub: the real client, in processes of their own, against a server on this machine."""

import json
import logging
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import onnx
import pytest
from fixtures.hub import Hub, Repository, commit_of, serve

import torchless
from torchless import CheckpointError, MissingExtraError, OptionError, TaskError, pipeline
from torchless.folder.hub import _remember, is_path, open_folder
from torchless.tasks import TASKS

TEXT = "A film of quiet power."
NAME = "onnx-community/tiny"
FIRST, SECOND = commit_of(1), commit_of(2)
CLASSIFY = f'pipeline("text-classification", "{NAME}", dtype="q8", top_k=None)("{TEXT}")'
TOKENIZE = f'AutoTokenizer.from_pretrained("{NAME}")("{TEXT}").input_ids'
SETTINGS = ["config.json", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"]

SCRIPT = """
import json, sys, torchless
for expression in sys.argv[1:]:
    try:
        result = eval(expression, dict(vars(torchless)))
    except torchless.TorchlessError as error:
        result = f"{type(error).__name__}: {error}"
    print(json.dumps(result))
"""


@dataclass
class Client:
    """Evaluates expressions in a fresh process that knows the server as the Hub, and keeps its cache."""

    python: str
    hub: Hub
    home: Path

    def __call__(self, *expressions, **environment):
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        settings = {"HF_ENDPOINT": self.hub.endpoint, "HF_HOME": str(self.home), "NO_PROXY": "127.0.0.1"}
        result = subprocess.run(
            [self.python, "-c", SCRIPT, *expressions],
            env={**kept, **settings, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            cwd=self.home,
        )
        assert result.returncode == 0, result.stderr
        self.stderr = result.stderr
        answers = [json.loads(line) for line in result.stdout.splitlines()]
        return answers if len(answers) > 1 else answers[0]

    def blobs(self, repository=NAME):
        """What the cache holds of a repository, whatever its names."""
        return list((self.home / "hub").glob(f"models--{repository.replace('/', '--')}/blobs/*"))


@pytest.fixture(scope="module")
def folder(tiny):
    return tiny.export("bert", "text-classification", num_labels=3)


@pytest.fixture(scope="module")
def expected(folder):
    """What the same folder answers from the disk."""
    return pipeline("text-classification", folder, top_k=None)(TEXT)


@pytest.fixture(scope="module")
def files(folder):
    """A repository as those of transformers.js are: two graphs, and much that nobody needs here."""
    names = [*SETTINGS, "onnx/model.onnx"]
    files = {name: (folder / name).read_bytes() for name in names}
    unneeded = dict.fromkeys(("README.md", "model.safetensors", "pytorch_model.bin", "onnx/decoder_model.onnx"), b"no")
    return {**files, "onnx/model_quantized.onnx": files["onnx/model.onnx"], **unneeded}


@pytest.fixture
def hub(files):
    with serve({NAME: Repository({FIRST: files})}) as hub:
        yield hub


@pytest.fixture(params=["checkout", "bare"])
def client(request, hub, tmp_path):
    """The client, with the checkout's huggingface_hub and with the newest."""
    python = sys.executable if request.param == "checkout" else request.getfixturevalue("bare_python")
    return Client(str(python), hub, tmp_path)


@pytest.fixture
def one_client(hub, tmp_path):
    """The client, where its version makes no difference."""
    return Client(sys.executable, hub, tmp_path)


def test_only_what_is_needed_once(client, hub, expected):
    assert client(CLASSIFY) == expected
    assert hub.sent() == sorted([*SETTINGS, "onnx/model_quantized.onnx"])
    assert client(CLASSIFY, TOKENIZE)[0] == expected
    assert hub.sent() == []


def test_both_graphs_of_an_encoder_decoder(one_client, hub, files):
    graphs = [f"onnx/{stem}_quantized.onnx" for stem in ("encoder_model", "decoder_model_merged")]
    unneeded = ["onnx/encoder_model.onnx", "onnx/decoder_model_merged.onnx", "onnx/decoder_model_quantized.onnx"]
    settings = {name: files[name] for name in SETTINGS}
    content = {**settings, **{name: name.encode() for name in (*graphs, *unneeded, "onnx/weights.pb")}}
    content[graphs[1]] = graph_with_weights_in("weights.pb")
    hub.repositories[NAME] = Repository({FIRST: content})
    look = f'[path.name for path in folder.hub.open_folder("{NAME}", dtype="q8").graphs("q8")]'
    names = ["encoder_model_quantized.onnx", "decoder_model_merged_quantized.onnx"]
    assert one_client(look) == names
    assert hub.sent() == sorted([*SETTINGS, *graphs, "onnx/weights.pb"])
    assert one_client(look, HF_HUB_OFFLINE="1") == names


def test_without_the_hub(client, hub, expected):
    assert client(CLASSIFY) == expected
    hub.requests.clear()
    unneeded = CLASSIFY.replace("q8", "fp32"), TOKENIZE, CLASSIFY.replace(NAME, "not/here")
    answer, other_dtype, tokens, other_name = client(CLASSIFY, *unneeded, HF_HUB_OFFLINE="1")
    assert hub.requests == []
    assert answer == expected
    assert tokens[0] == 101
    for words in ("cannot be reached: HF_HUB_OFFLINE is set", "has no onnx/model.onnx", "It has dtype='q8'."):
        assert words in other_dtype
    for words in ("'not/here' is not a folder here", str(client.home / "hub"), hub.endpoint):
        assert words in other_name
    assert client(CLASSIFY, HF_ENDPOINT="http://127.0.0.1:9") == expected


def test_a_tokenizer_brings_no_graph(one_client, hub, folder):
    assert one_client(TOKENIZE) == torchless.AutoTokenizer.from_pretrained(folder)(TEXT).input_ids
    assert hub.sent() == SETTINGS
    offline = one_client(CLASSIFY, HF_HUB_OFFLINE="1")
    assert "It has no graph at all" in offline


def test_the_token_is_sent(one_client, hub, expected):
    hub.repositories[NAME].token = "secret"
    assert one_client(CLASSIFY, HF_TOKEN="secret") == expected
    assert set(hub.tokens) == {"Bearer secret"}


def test_revisions(one_client, hub, files, expected):
    config = json.loads(files["config.json"])
    renamed = json.dumps({**config, "id2label": {"0": "A", "1": "B", "2": "C"}}).encode()
    hub.repositories[NAME] = Repository({FIRST: files, SECOND: {**files, "config.json": renamed}}, {"v1": FIRST})
    hub.repositories["org/other"] = Repository({FIRST: {name: files[name] for name in SETTINGS}})
    labels = '[one["label"] for one in {}[0]]'
    answers = one_client(
        *(CLASSIFY.replace('dtype="q8"', f'dtype="q8", revision="{revision}"') for revision in ("v1", FIRST)),
        labels.format(CLASSIFY),
        CLASSIFY.replace('dtype="q8"', f'dtype="q8", revision="v1", tokenizer="{NAME}"'),
        CLASSIFY.replace('dtype="q8"', 'dtype="q8", revision="v1", tokenizer="org/other"'),
    )
    assert answers[:2] == [expected, expected]
    assert set(answers[2]) == {"A", "B", "C"}
    assert answers[3:] == [expected, expected]


def test_a_branch_that_moves_meanwhile(client, hub, files, expected):
    changed = {name: content + b" " if name.endswith(".json") else content for name, content in files.items()}
    hub.repositories[NAME] = Repository({FIRST: files, SECOND: changed}, {"main": FIRST})
    hub.moves[NAME] = {"main": SECOND}
    assert client(CLASSIFY) == expected
    assert hub.repositories[NAME].branches == {"main": SECOND}
    assert not [line for line in hub.requests if SECOND in line]
    snapshots = client.home / "hub" / f"models--{NAME.replace('/', '--')}" / "snapshots"
    assert [snapshot.name for snapshot in snapshots.iterdir()] == [FIRST]
    for path in (path for path in snapshots.rglob("*") if path.is_file()):
        assert path.read_bytes() == files[path.relative_to(snapshots / FIRST).as_posix()]


@pytest.fixture(scope="module")
def large():
    """More than the 10 MB that the client writes at a time."""
    return bytes(range(256)) * 50_000


def test_a_connection_that_is_cut_is_resumed(client, hub, files, large, expected):
    graph, data = "onnx/model_quantized.onnx", "onnx/model_quantized.onnx_data"
    model = onnx.load_from_string(files[graph])
    tensor = model.graph.initializer.add(
        name="large", dims=[len(large)], data_type=onnx.TensorProto.UINT8, data_location="EXTERNAL"
    )
    tensor.external_data.add(key="location", value="model_quantized.onnx_data")
    hub.repositories[NAME] = Repository({FIRST: {**files, graph: model.SerializeToString(), data: large}})
    hub.cuts, hub.cut_after = {data: 1}, 11_000_000
    assert client(CLASSIFY) == expected
    ranges = [byte_range for name, byte_range in hub.contents if name == data]
    assert ranges[0] is None
    assert len(ranges) == 2
    assert int(ranges[1].removeprefix("bytes=").rstrip("-")) >= 10_000_000
    assert large in [path.read_bytes() for path in client.blobs() if path.stat().st_size == len(large)]


def test_a_connection_that_stays_cut(client, hub, expected):
    graph = "onnx/model_quantized.onnx"
    hub.cuts, hub.cut_after = {graph: 1000}, 0
    failed = client(CLASSIFY)
    assert failed.startswith(f"CheckpointError: {NAME!r} cannot be downloaded from the Hub {hub.endpoint}: ")
    assert "Try again" in failed
    hub.cuts.clear()
    assert client(CLASSIFY) == expected


def test_a_file_that_is_not_what_is_listed(client, hub, files, expected):
    small, large = "generation_config.json", "onnx/model_quantized.onnx"
    hub.repositories["org/small"] = Repository({FIRST: {**files, small: b"{}"}})
    hub.damaged |= {small, large}
    failed = client(CLASSIFY, CLASSIFY.replace(NAME, "org/small"))
    assert failed[0].startswith(f"CheckpointError: {large} of {NAME!r} is not what the Hub lists")
    assert failed[1].startswith(f"CheckpointError: {small} of 'org/small' is not what the Hub lists")
    assert {path.read_bytes() for path in client.blobs()} == {files[name] for name in SETTINGS}
    assert [path.read_bytes() for path in client.blobs("org/small")] == [files["config.json"]]
    hub.damaged.clear()
    assert client(CLASSIFY) == expected


def test_what_is_not_to_be_had(client, hub, files):
    hub.repositories |= {
        "org/private": Repository({FIRST: files}, token="secret"),
        "org/gated": Repository({FIRST: files}, token="secret", gated=True),
        "org/data": Repository({FIRST: {"README.md": b""}}),
        "org/torch": Repository({FIRST: {name: files[name] for name in SETTINGS}}),
    }
    load = 'AutoModelForSequenceClassification.from_pretrained("{}", {})'.format
    answers = client(
        load("org/nothing", ""),
        load("org/private", ""),
        load("org/gated", ""),
        load(NAME, 'revision="v9"'),
        load(NAME, 'dtype="q4"'),
        load(NAME, 'file_name="model_O3.onnx"'),
        load("org/data", ""),
        load("org/torch", ""),
        load("not a name!", ""),
    )
    for answer, words in zip(
        answers,
        [
            ("has no 'org/nothing'", "no folder of this name", "HF_TOKEN"),
            ("has no 'org/private'", "HF_TOKEN"),
            ("'org/gated' is gated", f"{hub.endpoint}/org/gated", "HF_TOKEN"),
            ("has no revision 'v9'",),
            ("has no onnx/model_q4.onnx", "dtype='fp32', dtype='q8', file_name='onnx/decoder_model.onnx'"),
            ("has no model_O3.onnx", "dtype='fp32'"),
            ("'org/data' has no config.json",),
            ("has no graph at all", "torchless export org/torch OUT"),
            ("neither a folder nor a name on the Hub",),
        ],
        strict=True,
    ):
        assert answer.startswith("CheckpointError: ")
        for word in words:
            assert word in answer
    (bad, gated) = client(load(NAME, ""), load("org/gated", ""), HF_TOKEN="bad")
    assert "Check your token" in bad
    assert "Check your token" in gated
    assert not [name for name, _ in hub.contents if name.endswith(".onnx")]


def test_other_layouts_and_little_beside(one_client, hub, files, folder):
    config = {name: value for name, value in json.loads(files["config.json"]).items() if name != "architectures"}
    few = {"config.json": json.dumps({**config, "transformers.js_config": {}}).encode()}
    few["tokenizer.json"] = files["tokenizer.json"]
    graph = files["onnx/model.onnx"]
    hub.repositories |= {
        "org/flat": Repository({FIRST: {**few, "model.onnx": b"not this", "model_quantized.onnx": graph}}),
        "org/named": Repository({FIRST: {**few, "onnx/model.onnx": b"not this", "onnx/model_O2.onnx": graph}}),
    }
    call = 'pipeline("text-classification", "org/{}", {})(["' + TEXT + '", "Short."])'
    answers = one_client(
        call.format("flat", 'dtype="q8"'),
        call.format("named", 'file_name="onnx/model_O2.onnx"'),
        call.format("named", 'file_name="model_O2.onnx"'),
    )
    assert answers == [pipeline("text-classification", folder)([TEXT, "Short."])] * 3
    assert b"not this" not in [
        path.read_bytes() for path in one_client.blobs("org/flat") + one_client.blobs("org/named")
    ]


@pytest.mark.parametrize("location", ["model_quantized.onnx_data", "weights.pb", "data/0"])
def test_weights_beside_the_graph(one_client, hub, files, folder, tmp_path, expected, location):
    (tmp_path / "onnx" / location).parent.mkdir(parents=True)
    graph = tmp_path / "onnx" / "model_quantized.onnx"
    onnx.save_model(
        onnx.load(folder / "onnx" / "model.onnx"), graph, save_as_external_data=True, location=location
    )  # fmt: skip
    written = (path for path in (tmp_path / "onnx").rglob("*") if path.is_file())
    parts = {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in written}
    hub.repositories[NAME] = Repository({FIRST: {**files, **parts, "onnx/model_quantized.onnx_data_1": b"no"}})
    assert one_client(CLASSIFY) == expected
    assert hub.sent() == sorted([*SETTINGS, *parts])
    assert one_client(CLASSIFY, HF_HUB_OFFLINE="1") == expected

    blob = next(one_client.home.glob(f"hub/models--*/snapshots/*/onnx/{location}"))
    blob.unlink()
    assert f"has no onnx/{location}, which holds weights of onnx/model_quantized.onnx" in one_client(
        CLASSIFY, HF_HUB_OFFLINE="1"
    )
    assert one_client(CLASSIFY) == expected  # and it is brought again


@pytest.mark.parametrize(
    ("location", "problem"),
    [
        ("weights.pb", "has no onnx/weights.pb, which holds weights of onnx/model_quantized.onnx"),
        ("../config.json", "a file outside of its folder: '../config.json'"),
        ("/etc/passwd", "a file outside of its folder: '/etc/passwd'"),
        ("ops.so", "native code: 'ops.so'"),
    ],
)
def test_weights_that_are_not_to_be_had(one_client, hub, files, location, problem):
    graph = {"onnx/model_quantized.onnx": graph_with_weights_in(location), "onnx/ops.so": b"no"}
    hub.repositories[NAME] = Repository({FIRST: {**files, **graph}})
    assert problem in one_client(CLASSIFY)
    assert "onnx/ops.so" not in hub.sent()


def graph_with_weights_in(location):
    """The bytes of a graph whose one tensor is in another file."""
    tensor = onnx.TensorProto(name="w", dims=[1], data_type=onnx.TensorProto.FLOAT, data_location="EXTERNAL")
    tensor.external_data.add(key="location", value=location)
    return onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], [tensor])).SerializeToString()


def test_a_manifest_travels(one_client, hub, folder, expected):
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    hub.repositories[NAME] = Repository({FIRST: files})
    assert one_client(f'pipeline(model="{NAME}", top_k=None)("{TEXT}")') == expected
    assert "torchless.json" in hub.sent()


def test_the_default_of_a_task(one_client, hub, files, expected):
    name = "Xenova/distilbert-base-uncased-finetuned-sst-2-english"
    hub.repositories[name] = Repository({FIRST: files})
    assert one_client(f'pipeline("sentiment-analysis", top_k=None)("{TEXT}")') == expected
    assert f"text-classification uses {name}" in one_client.stderr


def test_the_default_is_logged_and_not_warned_of(monkeypatch, caplog):
    monkeypatch.setattr("torchless.pipelines.open_folder", lambda name, **_: pytest.fail(name))
    with caplog.at_level(logging.WARNING), pytest.raises(pytest.fail.Exception, match="Xenova/bart-large-mnli"):
        pipeline("zero-shot-classification")
    assert "zero-shot-classification uses Xenova/bart-large-mnli" in caplog.text
    with pytest.raises(OptionError, match="multiple-choice has no default model"):
        pipeline("multiple-choice")
    with pytest.raises(TaskError):
        pipeline("sentimental")


def test_the_docs_list_the_defaults():
    page = (Path(__file__).parents[3] / "docs" / "hub.md").read_text(encoding="utf-8")
    for task in TASKS:
        assert f"| `{task.name}` | {f'`{task.default_model}`' if task.default_model else 'none'} |" in page


def test_the_command_line_and_the_export(one_client, hub, tmp_path, files, expected):
    hub.repositories["org/gated"] = Repository({FIRST: files}, token="secret", gated=True)
    environment = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
    arguments = ["run", NAME, TEXT, "--file-name", "model.onnx", "--revision", "main"]
    command = [Path(sys.executable).with_name("torchless"), *arguments]
    result = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=60
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["output"] == expected[0][:1]

    find = '__import__("torchless_export.source.source").source.source.find_source("{}", __import__("torchless_export.source.source").source.source.ReadOptions(allow_pickle=True))'.format
    found, gated, nothing = one_client(f"str({find(NAME)}.folder)", find("org/gated"), find("org/nothing"))
    assert Path(found).name == FIRST
    assert (Path(found) / "pytorch_model.bin").is_file()
    assert gated.startswith("ExportError: 'org/gated' is gated")
    assert "HF_TOKEN" in gated
    assert nothing.startswith("ExportError: ")


def test_what_a_branch_is_is_remembered(tmp_path):
    (tmp_path / "snapshots" / FIRST).mkdir(parents=True)
    for revision in (None, "refs/pr/1", FIRST):
        _remember(tmp_path / "snapshots" / FIRST, revision)
    remembered = {path.relative_to(tmp_path).as_posix(): path for path in (tmp_path / "refs").rglob("*")}
    assert {name for name, path in remembered.items() if path.is_file()} == {"refs/main", "refs/refs/pr/1"}
    assert remembered["refs/main"].read_text() == FIRST


def test_a_cache_that_cannot_be_written(one_client, expected):
    references = one_client.home / "hub" / f"models--{NAME.replace('/', '--')}" / "refs"
    references.parent.mkdir(parents=True)
    references.write_text("not a folder")
    assert one_client(CLASSIFY) == expected


def test_what_to_load_of_a_loaded_model(folder):
    model = torchless.AutoModelForSequenceClassification.from_pretrained(folder)
    with pytest.raises(OptionError, match="the model is loaded already"):
        pipeline("text-classification", model, revision="main")


def test_without_huggingface_hub(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub.constants", None)
    with pytest.raises(MissingExtraError, match=r"torchless\[hub\]"):
        open_folder(NAME)


def test_a_folder_comes_first(folder, tmp_path, monkeypatch):
    (tmp_path / "org").mkdir()
    (tmp_path / "org" / "model").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    assert open_folder("org/model", dtype="fp32").path == Path("org/model")
    with pytest.raises(OptionError, match="revision='main' is for names on the Hub"):
        open_folder("org/model", revision="main")
    with pytest.raises(CheckpointError, match="There is no folder './model'"):
        open_folder("./model", revision="main")


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ("bert-base-uncased", False),
        ("Xenova/bert-base-uncased", False),
        ("./model", True),
        ("../model", True),
        ("~/model", True),
        ("/models/a", True),
        ("models/a/b", True),
        ("models/", True),
        ("models\\a", True),
        (Path("org/model"), True),
    ],
)
def test_what_can_only_be_a_folder(source, path):
    assert is_path(source) is path
