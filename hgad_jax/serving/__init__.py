"""A trained model at work: an HTTP server with a page, and a watcher of a folder that a camera fills."""
