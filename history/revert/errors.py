"""Why nothing could be put back."""

from __future__ import annotations


class NothingRecordedError(LookupError):
    """Nothing at all is recorded of the document."""


class NoSuchFieldError(LookupError):
    """The document has no such field, neither now nor then."""


class ContendedError(Exception):
    """Others wrote to the documents all the time; nothing was changed."""


class NotAllowedError(Exception):
    """A user lacks a privilege; the message says which. Nothing was changed."""


class UnsureError(Exception):
    """The deployment went away during the commit: whether it was done will be seen in the history."""
