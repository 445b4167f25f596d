"""Health over HTTP; later the read API and pages."""
