"""This device as a USB device: one cable that is a network and a serial port, by Linux's configfs.

``design`` is pure: what the kernel is to be told, in which order. ``configfs`` tells it, ``address`` gives the network
its addresses, ``watch`` (pure) decides what to do where a host hears nothing, and ``gadget`` is what a user asks for:
up, down, status. Neither needs the other: a gadget goes on without a bootloader, a bootloader runs without a gadget.
"""
