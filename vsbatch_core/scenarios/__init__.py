"""Scenarios: what becomes of files and what goes wrong, as TOML files that anybody can write.

``circumstances`` reads what a simulation, a server and a test's fixture take from one; the rest of it, which is
what a run does, is for ``vsbatch simulate``.
"""
