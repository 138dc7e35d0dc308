"""Properties are not timed: machines are shared, and times are the benchmarks' business.

Where ``CI`` is set, hypothesis by itself draws the same examples every time and prints how to repeat a failure.
"""

import os

from hypothesis import settings

settings.register_profile("untimed", deadline=None)
if "CI" not in os.environ:
    settings.load_profile("untimed")
