"""Reconstruct a document or a collection as it was, by folding its history. No other package does this.

The daemon uses it for old values without a pre-image and for reconciliation after a gap, the read side for every query
about a state. Nothing here guesses: where history lacks an entry, the answer is `Unknown`, with the reason.

Start with `state`, which answers for one document. Read `fold` first (it applies entries to a document), then `entries`
and `document` (which select those entries). `lineage` finds the names they are recorded under, `trust` what is missing
among them, and `point_in_time` the position of `--at` in their order.
"""
