"""Makes a board with a stock Linux a target: looks at it, says what it will do, does that, at a shell that it has.

``look.sh`` asks the board, ``facts`` reads its answer, ``plan`` decides, ``ssh`` or ``console`` carries it out;
``payload`` is what is sent. The board needs a shell, tar and Python: no network of its own, no compiler, no pip.
"""
