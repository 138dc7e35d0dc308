"""The one window between the two ends: the values both speak, and the link they speak over.

Pure (no I/O, no clock): ``limits``, ``errors``, ``manifest``, ``delta``, ``overlay``, ``messages``, ``launch``,
``records``. Not pure: ``stream`` (TLS over a socket) and ``strict`` (RPyC over that stream).
"""
