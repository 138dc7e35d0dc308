"""The promise that a target can't be bricked, attacked: power cuts, kills, damage, hostile applications.

It is all done to real bootloaders, in folders of this benchmark's own. What it knows of them is the link, the state
folder and, for the cuts, which are too many for processes, what opens that folder.
"""
