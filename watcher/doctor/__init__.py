"""An examination of everything the daemon depends on. Each check has a file; judging is apart from asking servers."""
