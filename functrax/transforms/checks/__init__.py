"""Errors as values of programs: `checkify`, and what `debug_nans` and its like compile."""
