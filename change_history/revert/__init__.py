"""Putting documents back: the only thing here that writes to the watched deployment, and only on request.

    goals (history: what it is to be, what it should be now) ──▶ attempt ──▶ outcome
                                          live (the documents) ◀──┘ └──▶ intents (who did it)

One attempt is one transaction of the server: the documents are read in it, compared byte by byte with what history says
they are (`change_history.revert.merge`), written in it, read again, and committed to a majority. Whoever else writes to
one of them meanwhile makes the server refuse the attempt; the next one reads anew, and compares with the same history
as the first. So what others write after the revert began is never overwritten, whatever it is and however fast it is
recorded.
"""
