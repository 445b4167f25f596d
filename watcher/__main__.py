"""`python -m watcher`: the command `watcher`, for a checkout without the console script."""

from watcher.cli.main import main

main()
