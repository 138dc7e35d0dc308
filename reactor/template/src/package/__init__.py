"""What the target runs begins in ``main``."""
