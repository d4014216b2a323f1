"""Generation: the loop that runs a decoder and chooses the next token from its logits.

It may import `tokenization`, `ort`, and what they may import.
"""
