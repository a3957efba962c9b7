"""Which functions apex runs in half precision, which in float32, and which widen: by the namespace they live in."""
