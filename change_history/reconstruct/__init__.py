"""What a document or a collection was: read from the history collection, and folded. No other module works that out.

The daemon uses it for old values without a pre-image and for reconciliation after a gap; the read side for every
question about a state. Nothing here guesses: where history lacks something, the answer is `Unknown`, with the reason.

Enter by `state`, the answer about one document. Read `fold` first (entries applied to a document), then `entries` and
`document` (which entries those are). `lineage` says under which names they lie, `trust` what is missing among them, and
`point_in_time` where `--at` is in their order.
"""
