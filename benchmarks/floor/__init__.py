"""The yardstick: what a save costs at least, with a connection between two processes and a fork in it.

inotify -> TCP -> stop the old one, fork from a warm process -> import the application. No TLS, no hashes, no checks,
no state, no supervision: two hand-made programs, as lean as we can make them. Beside it ``patched``, which executes
what arrives where it runs, and ``linked``, which does that by the whole way that a save takes here.
"""
