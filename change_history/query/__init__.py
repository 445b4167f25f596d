"""Asking for recorded events: which, in what order, how many."""
