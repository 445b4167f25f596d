"""Whether the daemon is well: what it has done, a judgement of it, and both over HTTP."""
