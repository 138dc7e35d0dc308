"""Temperature sensors, each with a ``name`` and a ``read_c()`` in degrees Celsius."""

from .sensors import Sensor, Simulated, ThermalZone, find

__all__ = ["Sensor", "Simulated", "ThermalZone", "find"]
