"""What the commands print.

Everywhere here `zone` is that of the times shown, None the local one, and `width` the most terminal cells of a line,
None all of it.
"""
