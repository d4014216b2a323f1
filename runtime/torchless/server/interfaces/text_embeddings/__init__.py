"""text-embeddings-inference's interface."""
