"""The promise that a target can't be bricked, attacked: power cuts, kills, damage, hostile applications.

``python -m benchmarks.chaos`` is the front door; docs/chaos.md says what is tried, and what the figures mean. It is all
done to real bootloaders, in folders of this benchmark's own. What it knows of them is the link, the state folder and,
for the cuts, which are too many for processes, what opens that folder.
"""
