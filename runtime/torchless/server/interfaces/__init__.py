"""The HTTP interfaces: each package holds the routes, schemas and error body of one interface.

An interface may import all of `server` but `app`, `process`, `command` and the other interfaces.
"""
