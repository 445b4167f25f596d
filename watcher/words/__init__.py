"""How people write values and times, and how they read them."""
