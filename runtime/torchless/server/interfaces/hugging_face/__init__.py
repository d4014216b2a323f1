"""Hugging Face's interface, for `huggingface_hub.InferenceClient`, and the generation API of text-generation-inference.

It may import what `interfaces` may import.
"""
