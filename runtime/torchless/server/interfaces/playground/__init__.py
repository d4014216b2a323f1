"""The playground: one page at `/`, where a person tries the models."""
