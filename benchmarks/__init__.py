"""Side-by-side benchmarks of functrax and JAX."""
