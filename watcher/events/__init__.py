"""Turns an event into its history document: pure functions, bytes in and bytes out, no I/O.

Only `change_history` is imported here.

`record` defines how history is written. Read it with `change_history.reconstruct.fold`, which applies what it writes.

    event ──▶ record ──▶ history document ──▶ fold ──▶ document after the event
               │  update, ambiguous: the changes as the server describes them
               └  change_history.diff.images: the changes between two images

`fast_path` records nearly all events: the same bytes, from compiled code (`_fast_path.pyx`). `baseline` makes the
history of a document's state that is not from an event.
"""
