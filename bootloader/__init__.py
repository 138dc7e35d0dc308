"""The target's half: minimal, always boots, never imports an application into its own process."""

__version__ = "0.1.0"
