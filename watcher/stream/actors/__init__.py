"""Who made a change: context documents, stamps, and the database users of sessions."""
