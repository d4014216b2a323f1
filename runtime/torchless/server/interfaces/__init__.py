"""The interfaces that clients speak: a folder for each, with its routes, its schemas and its error bodies."""
