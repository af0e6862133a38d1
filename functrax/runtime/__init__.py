"""Arrays, devices, compilation, dispatch and caches: running what was traced."""
