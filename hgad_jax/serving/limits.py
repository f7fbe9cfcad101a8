"""What a server takes from its clients at most, so that none of them can use it up."""

from typing import NamedTuple

from hgad_jax.errors import UserError


class Limits(NamedTuple):
    """Each is a flag of `hgad-jax serve`.

    Attributes:
      max_bytes: of one request.
      max_pixels: of one image, height times width.
      max_images: of one request.
      max_requests: that are being answered at a time; further ones are told to come again.
      max_connections: open at a time; further ones are closed.
      queue: images that were accepted and are not scored yet.
      timeout: seconds from a request's first byte to the last of its answer.
      head_timeout: seconds that a connection may take to send the head of a request.
    """

    max_bytes: int = 64_000_000
    max_pixels: int = 50_000_000
    max_images: int = 16
    max_requests: int = 64
    max_connections: int = 512
    queue: int = 128
    timeout: float = 60.0
    head_timeout: float = 10.0

    @property
    def uploads(self) -> int:
        """Bytes of all requests that are being received or decoded at a time."""
        return 4 * self.max_bytes


def checked(limits: Limits) -> Limits:
    """The same limits.

    Raises:
      UserError: one that no request could keep.
    """
    for name, value in limits._asdict().items():
        if value <= 0:
            raise UserError(f"--{name}={value}: expected a number above 0.")
    if limits.queue < limits.max_images:
        raise UserError(
            f"--queue={limits.queue} holds fewer images than a request may have, --max_images="
            f"{limits.max_images}: such a request could never be accepted. Raise one or lower the other."
        )
    return limits
