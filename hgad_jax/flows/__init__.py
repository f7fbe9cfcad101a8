"""Normalizing flows over feature maps: forward and inverse, each with its log-determinant."""
