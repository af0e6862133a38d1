"""The interpreters of programs, and the functions that users call."""
