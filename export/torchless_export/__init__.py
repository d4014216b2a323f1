"""From a Hugging Face checkpoint to an exported folder, once, with PyTorch."""
