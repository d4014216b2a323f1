"""The inspection of an exported folder: its contents and its verification, as `torchless inspect` prints them.

It may import all packages of the runtime except `pipelines` and `server`.
"""
