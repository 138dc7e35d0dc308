"""An LED that blinks, and is off when nobody blinks it."""
