"""`python -m hgad_jax COMMAND`, as `hgad-jax COMMAND`."""

from hgad_jax.cli.main import main

if __name__ == "__main__":
    main()
