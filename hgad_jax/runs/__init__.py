"""What is kept of a run on disk, and what a run stands on: its model, features, devices, processes."""
