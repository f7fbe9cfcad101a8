"""Metrics of anomaly detection: ranking of images and pixels, overlap of regions."""
