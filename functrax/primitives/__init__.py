"""The primitives: one file per family, all the rules of one side by side."""
