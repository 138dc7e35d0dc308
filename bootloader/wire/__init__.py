"""The one window between the two ends: the values both speak, and the link they speak over.

Pure (no I/O, no clock): ``limits``, ``errors``, ``manifest``, ``delta``, ``overlay``, ``messages``, ``launch``,
``records``; of a serial line ``framing``, ``carrier``, ``channels``, ``line``. Not pure: ``interfaces`` (this machine's
network, as both ends watch it), ``private`` (who may read a key), ``stream`` (TLS over a socket), ``strict`` (RPyC over
that stream), ``ferry`` (a serial line and its sockets).
"""
