"""The host's half: watches a project, ships what changed, shows what the target did with it."""

__version__ = "0.1.0"
