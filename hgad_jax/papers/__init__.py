"""What papers and known implementations published, as data, and how a run differs from it."""
