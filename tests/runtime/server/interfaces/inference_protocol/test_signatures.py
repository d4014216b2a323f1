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
def test_what_a_task_gives_is_what_it_says(tiny, task):
    family = "t5" if task.encoder_decoder else "gpt2" if task.cached else "bert"
    answering = pipeline(task.name, tiny.export(family, task.graph, **CONFIGS.get(task.name, {})))
    signature = signature_of(answering)
    inputs, options = signature.inputs_of(texts_of(task, answering.example_inputs()[0]))
    for answer in signature.answers:
        asked = answer.options_of(options | (GENERATING if task.cached else {}))
        if asked.get("pooling") == "auto":
            asked["pooling"] = "mean"  # these folders do not say
        prepared = answering.prepare(inputs, **asked)
        tensors = answer.arrays(prepared.results(answering.forward(prepared.rows)))
        assert list(tensors) == [output.name for output in answer.outputs]
        for output in answer.outputs:
            array = tensors[output.name]
            assert array.size
            assert array.dtype == {"BYTES": object, "FP32": np.float32, "INT64": np.int64}[output.datatype]
            assert all(size in {-1, given} for size, given in zip(output.shape, array.shape, strict=True))
