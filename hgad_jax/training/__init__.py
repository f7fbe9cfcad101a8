"""Training: step, schedules, optimiser, checkpoints, and the loop that joins them."""
