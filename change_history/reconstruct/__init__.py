"""What history says a document was: read from the history collection, folded by `change_history.reconstruct.fold`.

Used by both who need it: the daemon, for old values that no pre-image tells and for levelling after a gap, and the
read side. Nothing here guesses: where history has a hole, the answer is `Unknown`, with the reason.
"""
