"""Hugging Face's interface, which `huggingface_hub.InferenceClient` speaks; it also answers text-generation-inference's."""
