"""Workers: a Backend made of processes that the kernel stops. `pool.Pool` is what the rest of wickguard sees of it."""
