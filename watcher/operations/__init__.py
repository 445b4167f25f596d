"""Operations requested by an operator: moving a position, repartitioning, users and roles."""
