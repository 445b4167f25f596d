"""Seals: signed digests of history up to a point. What they are made of, how they are checked, what they prove."""
