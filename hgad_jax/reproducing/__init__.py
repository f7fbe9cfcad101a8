"""Tables of many runs: what is to be run, running it, and the table that comes of it."""
