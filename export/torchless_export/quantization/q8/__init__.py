"""The q8 variant of encoders: 8-bit weights and products, with answers that do not depend on the batch.

It may import `torchless.ort` and `torchless_export.graph`.
"""
