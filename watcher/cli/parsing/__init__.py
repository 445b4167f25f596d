"""Arguments and options of the command line."""
