"""`python -m cli`: the command `watcher`, for a checkout without the console script."""

from cli.main import main

main()
