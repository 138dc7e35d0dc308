"""What runs beside user code, in processes of its own. Started, never imported; imports only ``wire``."""
