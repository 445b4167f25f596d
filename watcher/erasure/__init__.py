"""Erasure on request: what is removed, where it is looked for, and keeping it removed while it is still written."""
