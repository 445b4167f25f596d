"""How an event lies in the history database: its form, its order, its chunks."""
