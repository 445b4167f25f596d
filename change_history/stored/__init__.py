"""How an event is stored in the history database: its form, its order, its chunks."""
