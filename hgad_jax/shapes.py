"""Shapes in annotations, as jaxtyping writes them: `Float[Array, "B h w"]`.

For the rooms that an exported model is loaded with, on a machine that has jax and little else
(docs/export.md): without jaxtyping an annotation is the array's type alone. It changes nothing but that; the
tests, which check shapes at every call, have jaxtyping.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, Num
else:
    try:
        from jaxtyping import Bool, Float, Int, Num
    except ModuleNotFoundError:

        class _Shaped:
            def __class_getitem__(cls, item: tuple[Any, str]) -> Any:
                return item[0]

        Bool = Float = Int = Num = _Shaped

__all__ = ["Bool", "Float", "Int", "Num"]
