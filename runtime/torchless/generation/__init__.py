"""Generation: tokens are chosen one after another from the logits that a decoder's graph gives.

It may import `tokenization`, `ort`, and what they may import.
"""
