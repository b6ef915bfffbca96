"""The settings of every command and config group, typed: what Hydra checks overrides against.

A setting is declared once, as a field: `setting` says how. ``conf/`` holds only what is not said here: which option of
a group a command takes, and in what the options differ from a group's defaults. Keys carry their unit in the name
where they have one.
"""
