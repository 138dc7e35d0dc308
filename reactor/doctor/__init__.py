"""What a first hour meets, looked at one by one: this host's side, and a target's.

``host`` and ``device`` look things up and judge nothing; ``checks`` judges what they found and looks nothing up.
"""
