"""A trained model at use: scores, decisions, what is written of them."""
