import pytest

from torchless_export.quantization.linears import find_linears, load_products
from torchless_export.quantization.recording import Recorder, Rows


@pytest.fixture
def recorded(tmp_path_factory):
    """Records the inputs of a graph's products while it runs."""

    def record(graph, feeds, names=None):
        rows = Rows(tmp_path_factory.mktemp("rows"))
        names = names or [linear.input for linear in find_linears(load_products(graph))]
        recorder = Recorder(graph, names, rows, rows_per_run=1000)
        for feed in feeds:
            recorder.run(feed)
        return rows

    return record
