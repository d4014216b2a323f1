"""text-embeddings-inference's interface: embeddings, similarities, rankings, classifications and tokens.

It may import what `interfaces` may import.
"""
