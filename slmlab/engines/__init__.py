"""Run a model: one module an engine, all with the same few verbs."""
