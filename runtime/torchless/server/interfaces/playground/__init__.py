"""The playground: a web page at `/` to try the models.

It may import what `interfaces` may import.
"""
