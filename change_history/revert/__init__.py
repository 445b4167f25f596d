"""Revert documents: the only code here that writes to the watched deployment, and only on request.

        goals (history: the target and the expected document) ──▶ attempt ──▶ outcome
                                          live (the documents) ◀──┘ └──▶ intents (who did it)

One attempt is one transaction on the server: it reads the documents, compares them byte by byte with what history
expects (`change_history.revert.merge`), writes them, reads them again, and commits to a majority. If somebody else
writes to one of them meanwhile, the server aborts the attempt; the next one reads anew, and compares with the same
history as the first. So writes made by others after the revert began are never overwritten, however fast they are
recorded.
"""
