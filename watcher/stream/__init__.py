"""From the change stream to the history collection. Read `pipeline` first."""
