"""Every bound that both ends must agree on. Sizes in bytes, times in seconds."""

PROTOCOL = 1
"""Version of everything that crosses the link. The two ends must be equal."""

PORT = 7717
"""Where a target listens, if nobody says otherwise."""

FRAME_BYTES = 24 * 1024 * 1024
"""Largest frame that is read from a link; a longer one closes it."""

MANIFEST_FILES = 100_000
"""Most files in one tree."""

PATH_BYTES = 1024
"""Longest path in a tree, in UTF-8."""

FILE_BYTES = 4 * 1024**3
"""Largest file in a tree."""

FILE_S = 0.05
"""How much longer an overlay may take for each of its files, which a small board writes and compiles."""

INLINE_BYTES = 1024 * 1024
"""Most blob bytes that ride inside an overlay; more is uploaded before it."""

PART_BYTES = 4 * 1024 * 1024
"""Most blob bytes in one upload call."""

UPLOAD_BLOBS = 2048
"""Most blobs in one upload call."""

LINE_BYTES = 8 * 1024
"""Longest line of output kept as one event; a longer one is split."""

MOST_STREAMS = 32
"""Most streams at once on one target."""

STREAM_BYTES = 256 * 1024
"""Most bytes of a stream in one answer."""

SESSION_BYTES = 20 * 1024 * 1024
"""Longest message of a REPL's session."""

VALUE_BYTES = 16 * 1024 * 1024
"""Most bytes of a value that is moved between host and target."""

MOST_WHEELS = 512
"""Most wheels in one layer."""

LAYER_BYTES = 4 * 1024**3
"""Most bytes of a layer's files, unpacked."""

ANSWER_VALUES = 1_000_000
"""Values in one answer, besides its blobs. The longest that an end of ours gives names 100,000 missing blobs."""
