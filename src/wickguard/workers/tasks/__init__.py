"""Tasks: what a job and its answer look like for each thing that a model of the engine can do; one module each."""
