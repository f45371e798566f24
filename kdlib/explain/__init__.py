"""Where a model looks: maps over the input, one per image."""
