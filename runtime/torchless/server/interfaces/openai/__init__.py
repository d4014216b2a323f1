"""OpenAI's interface: embeddings, completions and chat completions."""
