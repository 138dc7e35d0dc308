"""The one window between the two ends: the values both speak, and the link they speak over.

Pure (no I/O, no clock): ``limits``, ``errors``, ``manifest``, ``delta``, ``overlay``, ``messages``, ``launch``,
``layer``, ``records``, ``plain``, ``session``, ``presence``; of a serial line ``framing``, ``carrier``, ``channels``,
``line``; of a gadget ``cable``. Not pure: ``interfaces`` (this machine's network, as both ends watch it), ``private``
(who may read a key), ``stream`` (TLS over a socket), ``strict`` (RPyC over that stream), ``pairing`` (SPAKE2),
``ferry`` (a serial line and its sockets).
"""
