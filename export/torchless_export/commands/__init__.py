"""The commands `torchless export` and `torchless verify`.

It may import every package of the export; PyTorch is imported only once there is something to do.
"""
