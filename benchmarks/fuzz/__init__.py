"""Random, mutated and hand-made bytes for everything that reads what another end has said."""
