"""From likelihood maps to anomaly maps and image scores, calibrated or as published."""
