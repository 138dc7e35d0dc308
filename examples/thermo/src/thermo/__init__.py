"""A thermometer with a moving average."""
