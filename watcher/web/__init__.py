"""Reading the history by others: the REST API under `/api/v1` and the pages under `/`, as one ASGI application."""
