"""The interfaces: each maps its requests to the pipelines, and their results to its answers."""
