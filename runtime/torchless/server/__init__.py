"""The HTTP server: models behind the interfaces that existing clients speak.

It may import every package of the runtime. It alone imports litestar, msgspec, prometheus_client and uvicorn.
"""
