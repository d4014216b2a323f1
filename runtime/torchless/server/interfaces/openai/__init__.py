"""OpenAI's interface: models, embeddings, completions and chat completions.

It may import what `interfaces` may import.
"""
