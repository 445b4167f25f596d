"""Commands about what is kept: bringing in, expiring, erasing, proving."""
