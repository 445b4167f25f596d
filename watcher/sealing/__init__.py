"""Makes seals in the background, without delaying the stream."""
