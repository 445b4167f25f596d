"""What an operator asks for: moving a position, repartitioning, users and roles."""
