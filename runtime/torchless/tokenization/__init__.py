"""Texts to token ids and back: the tokenizer, its settings and special tokens, truncation, padding, and chat templates.

It may import `folder` and what `folder` may import. It alone imports tokenizers and jinja2.
"""
