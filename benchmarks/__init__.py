"""Every figure that the project claims, measured again by whoever doubts it.

``loop`` is the front door: from a save to the new code running, for reactor, for what people use today, and for a
hand-made floor. Nothing here is imported by the product, and nothing here reaches into the product: ``reactor`` is
started as the command that a user types. One of the floors is built upon its link (``bootloader.wire``).
"""
