"""What the commands print.

In all modules, `zone` is the zone of the printed times (None: the local one), and `width` the maximum number of
terminal cells of a line (None: unlimited).
"""
