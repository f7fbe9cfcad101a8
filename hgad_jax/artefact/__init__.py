"""An exported model as it lies on a disk: read with jax, NumPy, Pillow and safetensors alone."""
