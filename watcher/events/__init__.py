"""An event becomes its history document: pure functions, bytes in and bytes out, no I/O.

Only `change_history` is imported here.

`record` says how history is written. Read it beside `change_history.reconstruct.fold`, which applies what it writes.

    event ──▶ record ──▶ history document ──▶ fold ──▶ document after the event
               │  update, ambiguous: what the server says changed
               └  change_history.diff.images: what two images say changed

`fast_path` is the way by which nearly all events go: the same bytes, compiled (`_fast_path.pyx`). `baseline` is history
of a document that no event is about.
"""
