"""Base distributions: the log-probability of latents, and the loss terms that go with it."""
