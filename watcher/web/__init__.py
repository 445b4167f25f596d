"""Serves the history over HTTP: the REST API under `/api/v1` and the pages under `/`, as one ASGI application."""
