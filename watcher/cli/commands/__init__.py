"""One module for each command of `watcher`."""
