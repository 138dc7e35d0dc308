"""The REPL's end in a process of the application: statements of a host, run beside the application, on live objects.

Nothing of it runs before a host asks. Then there is a thread that talks with the host, and one on which statements run;
of neither the application notices more than that time goes by. Knows nothing of links, and trusts its host, which the
bootloader has known by its key; what it sends back is bounded.
"""

from .session import Repl

__all__ = ["Repl"]
