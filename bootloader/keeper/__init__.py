"""Who watches the bootloader, with nothing but the standard library: starts it, tries newer ones, is watched itself."""
