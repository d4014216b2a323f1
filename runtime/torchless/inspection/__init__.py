"""What an exported folder holds and how it was verified, without loading a graph; `torchless inspect` prints it.

It may import every package of the runtime but `pipelines` and `server`.
"""
