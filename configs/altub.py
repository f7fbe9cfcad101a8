"""Keys of AltUB (Kim et al., 2022): a trained base distribution under any flow.

They are read when `config.detector.base` is "trainable". What the paper leaves open is marked as our choice.
"""

import ml_collections


def keys(*, rate_ratio: float, start_epoch: float) -> ml_collections.ConfigDict:
    """The section `config.altub`."""
    altub = ml_collections.ConfigDict()
    altub.freeze_interval = 5  # epochs; in every so-manieth the flow is frozen and the base trained alone
    altub.first_epoch = 0  # number of the first epoch, 0 or 1: with 0 it is a frozen one (our choice)
    altub.start_epoch = start_epoch  # epochs (passes over the images) before which the base is not trained
    altub.rate_ratio = rate_ratio  # learning rate of the base in frozen epochs over train.learning_rate
    altub.clip = 100.0  # bound of the base's gradients; 0: none
    altub.clip_by = "norm"  # "norm" of all of the base's gradients, or the "value" of each (our choice)
    return altub
