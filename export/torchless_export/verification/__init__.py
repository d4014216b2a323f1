"""The gate: the exported graphs answer as PyTorch answers, or the export fails."""
