"""The commands: one file a verb, each with ``add`` (its arguments) and ``run`` (what it does; returns the exit code).

Exit codes: 0 done, 1 it did not work (and it was said why), 2 wrong use.
"""
