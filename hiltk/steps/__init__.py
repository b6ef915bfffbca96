"""The commands: one module per verb of `hiltk.verbs`, with ``run``; a step's is ``run(cfg) -> Artifact``."""
