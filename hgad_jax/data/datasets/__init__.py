"""The datasets of the papers, one file each, prepared once with TensorFlow Datasets (without TensorFlow)."""
