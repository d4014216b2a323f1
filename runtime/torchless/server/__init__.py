"""The HTTP server: models behind the interfaces that existing clients speak to."""
