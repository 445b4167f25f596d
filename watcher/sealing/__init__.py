"""Making seals, beside the stream and never in its way."""
