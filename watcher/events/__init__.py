"""The pure core: event → history and history → document, bytes in and bytes out, no I/O.

Read `record` and `fold` side by side: what the one writes, the other applies.

    event ──▶ record ──▶ history document ──▶ fold ──▶ document after the event
               │  update: what the server says changed
               │  diff:   what two images say changed
               └  image:  old values from the pre-image
"""
