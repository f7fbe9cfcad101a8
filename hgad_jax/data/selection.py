"""One class of a dataset alone, for detectors that papers train per class."""

from hgad_jax.data.names import composed
from hgad_jax.data.records import Dataset
from hgad_jax.errors import UserError


def select_class(dataset: Dataset, class_name: str) -> Dataset:
    """The records of one class; all of them if the name is "".

    Raises:
      UserError: the dataset has no such class.
    """
    if not class_name:
        return dataset
    class_name = composed(class_name)  # as the classes of folders are, however the system spells them
    if class_name not in dataset.classes:
        raise UserError(
            f"config.data.class_name is '{class_name}', which {dataset.name} does not have; its classes are "
            f'{", ".join(dataset.classes)}. With "" all of them are taken.'
        )

    def chosen(records):
        return tuple(record for record in records if record.class_name == class_name)

    return dataset._replace(classes=(class_name,), train=chosen(dataset.train), test=chosen(dataset.test))
