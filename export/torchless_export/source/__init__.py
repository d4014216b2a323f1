"""What to export: a folder, a name on the Hub, or an adapter with its base; found, checked, and loaded with PyTorch."""
