import numpy as np
import pytest

from torchless import pipeline
from torchless.server.interfaces.inference_protocol.signatures import signature_of
from torchless.tasks import TASKS

NLI = {"id2label": {0: "contradiction", 1: "entailment"}, "label2id": {"contradiction": 0, "entailment": 1}}
CONFIGS = {"text-ranking": {"num_labels": 1}, "zero-shot-classification": NLI}
GENERATING = {"max_new_tokens": 3, "do_sample": False}


def texts_of(task, example):
    """The tensors of a task's example."""
    if isinstance(example, dict):
        return {name: value if isinstance(value, list) else [value] for name, value in example.items()}
    return {"text": [example], **({name: list(value) for name, value in task.options.items()})}


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_the_outputs_of_a_task_fit_its_signature(tiny, task):
    family = "t5" if task.encoder_decoder else "gpt2" if task.cached else "bert"
    pipe = pipeline(task.name, tiny.export(family, task.graph, **CONFIGS.get(task.name, {})))
    signature = signature_of(pipe)
    inputs, options = signature.inputs_of(texts_of(task, pipe.example_inputs()[0]))
    for call in signature.calls:
        call_options = call.merge_options(options | (GENERATING if task.cached else {}))
        if call_options.get("pooling") == "auto":
            call_options["pooling"] = "mean"  # these folders declare no pooling
        prepared = pipe.prepare(inputs, **call_options)
        tensors = call.arrays(prepared.results(pipe.forward(prepared.rows)))
        assert list(tensors) == [output.name for output in call.outputs]
        for output in call.outputs:
            array = tensors[output.name]
            assert array.size
            assert array.dtype == {"BYTES": object, "FP32": np.float32, "INT64": np.int64}[output.datatype]
            assert all(size in {-1, actual} for size, actual in zip(output.shape, array.shape, strict=True))
