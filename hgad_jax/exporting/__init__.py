"""Makes an artefact of a run: all that is between an image and a decision, to be copied to a line."""
