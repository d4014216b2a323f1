"""An exported folder, on disk or on the Hub: its configuration, its manifest, its graphs, and where each file is.

It may import `errors` and `tasks`.
"""
