"""The daemon's health: progress counters, readiness and liveness, and both over HTTP."""
