"""A graph with its configuration, called with arrays: a class for each kind of head, and pooling.

It may import `generation`, `tokenization`, `folder`, `ort`, and what they may import.
"""
