"""The built-in kinds: their table, and each group's own defaults, validation and columns."""
