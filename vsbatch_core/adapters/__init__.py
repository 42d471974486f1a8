"""Ways for clients to reach an engine: HTTP without I/O, and thin shells over it."""
