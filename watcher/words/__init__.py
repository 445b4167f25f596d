"""Values and times as text: parsing and formatting."""
