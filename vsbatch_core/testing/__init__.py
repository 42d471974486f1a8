"""What helps to test code against this API, and implementations of it; each room says which extra it needs."""
