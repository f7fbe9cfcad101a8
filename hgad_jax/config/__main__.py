"""`python -m hgad_jax.config`: prints every key with default, range and meaning."""

from hgad_jax.config.show import page

if __name__ == "__main__":
    print(page(), end="")
