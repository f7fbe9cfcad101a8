"""One command, `hgad-jax`, and its sub-commands; flags and nothing else."""
