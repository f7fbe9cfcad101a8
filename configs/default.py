"""Every key of a run with its unit and default. Other configs start from here and say what they change.

Presets, given after a colon (`--config=configs/hgad_elpv.py:paper`):
  default   converges in minutes: whitened features, couplings that start as the identity, balanced losses.
  paper     every published value of HGAD (Yao et al., ECCV 2024, and its released code) as far as the
            backbone allows; 200 passes over 1024-pixel images, so days on a CPU.
"""

import ml_collections

from configs import altub
from hgad_jax.errors import UserError


def get_config(preset: str = "default") -> ml_collections.ConfigDict:
    """The configuration of a preset."""
    config = ml_collections.ConfigDict()
    config.seed = 0  # of initial parameters, order of images, and the held-out split

    config.data = data = ml_collections.ConfigDict()
    data.name = "folder"  # or "mvtec_ad", "btad", "mvtec_3d_rgb", "visa", "union", "stc", "elpv": the papers'
    data.root = ""  # folder: where the images are; a dataset: where its archive is, or what was in it
    data.normal_dir = ()  # folder: good images to train on, where they are not in MVTec AD's layout
    data.abnormal_dir = ()  # folder, with normal_dir: defective images to test with
    data.mask_dir = ()  # folder, with abnormal_dir: masks of these, as many folders in the same order
    data.normal_test_dir = ()  # folder, with normal_dir: good images to test with
    data.follow_links = False  # allow symbolic links that leave the root
    data.on_error = "raise"  # an image that cannot be used: "raise", or "skip" it with a count
    data.class_name = ""  # this class alone; "" for all
    data.prepared_dir = ""  # dataset: where it is kept once prepared; "": in the user's cache
    data.allow_partial = False  # dataset: accept other images than the published ones, with a warning
    data.split_seed = 0  # elpv: which good images are for testing
    data.image_size = 256  # pixels, side of the square that the model sees
    data.resize = "squash"  # "squash", "short_side_crop" (cuts the longer side) or "letterbox" (pads it)
    data.interpolation = "bilinear"  # of images: "nearest", "bilinear", "bicubic" or "lanczos", antialiased
    data.tiles = 1  # n: cut every image into n×n overlapping squares of image_size; 1: none
    data.tile_overlap = 0.25  # share of a tile's side that it has in common with the next
    data.rotation = 0.0  # degrees; training images are turned at random by up to so much (CFLOW-AD: 5);
    # the backbone then runs at every step, since features of turned images cannot be kept
    data.classes = "given"  # by the dataset; or "cluster:K": K groups found by k-means on features
    data.workers = 2  # threads that decode images

    config.backbone = backbone = ml_collections.ConfigDict()
    backbone.name = "tf_efficientnet_lite0"  # timm's name, with a tag where it matters; see docs/backbones.md
    # Where its weights are: "package", a Python package; "cache", what `python -m hgad_jax.backbones fetch`
    # has stored; the path of a .safetensors or .pth file; "auto": a package if there is one, else the cache.
    backbone.source = "auto"
    backbone.dtype = "float32"  # of its computation; "bfloat16" is faster on GPU and TPU, slower on CPU
    # Images are brought to zero mean and unit deviation by these, three numbers each on a scale from 0 to 1;
    # (): by the constants that the weights were trained with.
    backbone.mean = ()
    backbone.std = ()
    backbone.taps = ()  # (): the backbone's own; here "blocks.2", "blocks.4", "blocks.6", strides 8, 16, 32
    backbone.scales = (1,)  # input side divided by this for a further pass; each tap of each scale is a level
    # Each channel is brought to the same deviation over every image; this share of the mean variance of
    # channels is added to that of each; 0: maps stay as they are.
    backbone.equalize = 0.1
    backbone.neighbours = (3,)  # side of the square of positions that are averaged, level by level; others: 1

    config.cache = cache = ml_collections.ConfigDict()
    cache.dir = ""  # where training features are kept; "" is workdir/cache
    cache.dtype = "float32"  # or "bfloat16", half the size

    config.detector = detector = ml_collections.ConfigDict()
    detector.name = "hgad"
    detector.flow = "dense"  # couplings: "dense", "convolution" (FastFlow's), or "none"; docs/parts.md
    detector.num_blocks = 8  # couplings per flow
    detector.condition_channels = 64  # dense: width of the position code, a multiple of 4; 0: not told it
    detector.kernel_sizes = (3, 1)  # convolution: of the couplings, in turn; odd, in positions
    detector.norm = "none"  # convolution: layer norm before it, "trainable" affine map, "fixed" or "none"
    detector.hidden_ratio = 2.0  # hidden width of a coupling's subnet over its input width
    detector.clamp = 1.9  # bound of a coupling's log-scale
    detector.identity_init = True  # couplings start as the identity
    detector.conditioning = "whiten"  # first layer: "none", "standardize" or "whiten"
    detector.per_class = True  # first layer: statistics of each class, or of all together
    detector.regions = 64  # first layer: covariances per class; 0: it does not depend on the position
    detector.shrinkage = 1e-3  # first layer: share of the mean variance added to every variance
    # distribution of the latents: "hierarchical" (a mixture over classes and centres), "standard" (normal)
    # or "trainable" (normal, with a mean and a scale for every element: AltUB)
    detector.base = "hierarchical"
    detector.num_centres = 4  # hierarchical: Gaussian centres a class
    detector.centre_distance = 5.0  # hierarchical: between the initial centres of two classes
    detector.delta_scale = 0.1  # hierarchical: deviation of a class's further centres at the start
    detector.label_smoothing = 0.02  # hierarchical: of the mutual information

    config.altub = altub.keys(rate_ratio=50.0, start_epoch=0.0)

    config.loss = loss = ml_collections.ConfigDict()  # weights; those of terms that the base lacks are 0
    loss.likelihood = 1.0  # L_g, nats per dimension
    loss.mutual_information = 0.01  # nats, maximised
    loss.entropy = 0.0  # L_e, nats
    loss.intra = 1.0  # L_in, nats per dimension; from stage two on
    loss.log_sigmoid = 0.0  # L_z; from stage two on

    config.train = train = ml_collections.ConfigDict()
    train.epochs = 16.0  # passes over the good images
    train.stage_two_epoch = 1.0  # when `intra` and `log_sigmoid` set in
    train.batch_size = 64  # images, over all devices
    train.positions = 16  # at most so many of each map per image and step, on a grid that moves; 0: all
    train.micro_batches = 1  # parts of a device's batch, one after the other; fewer if they do not divide it
    train.learning_rate = 1e-3  # peak
    train.warmup_epochs = 1.0
    train.warmup_start = 0.1  # learning rate at step 0 over its peak
    train.final_learning_rate = 1e-3  # end of the cosine over its peak
    train.hold_epochs = 0.0  # the cosine changes every so many epochs only; 0: at every step
    train.beta1 = 0.95  # Adam
    train.beta2 = 0.99
    train.weight_decay = 0.0  # of the flow, added to the gradient
    train.clip_norm = 1.0  # bound of the gradient's norm; 0: none
    # which state: "best", of each level that under which held-out good images are likeliest, or the "last"
    train.keep = "best"
    train.patience = 0.0  # with "best": epochs without a better state of any level that end training; 0: none
    train.log_every = 10  # steps
    train.checkpoint_every = 200  # steps
    train.keep_checkpoints = 2

    config.eval = evaluation = ml_collections.ConfigDict()
    evaluation.window = ()  # first and last epoch of the stability report, such as (100, 300); (): none
    evaluation.every = 1.0  # epochs between its evaluations on the test set, which choose nothing

    config.calibration = calibration = ml_collections.ConfigDict()  # docs/scoring.md
    calibration.fraction = 0.15  # of each class's good images, held out of training
    calibration.min_images = 10  # at least so many of each class
    calibration.false_alarm_rate = 0.01  # share of good images that may be called anomalous
    calibration.threshold_per = "class"  # "class", or "model": one for all, when classes have few images
    calibration.pixel_rate = 0.001  # share of good images' pixels above the heat map's threshold

    config.scoring = scoring = ml_collections.ConfigDict()  # docs/scoring.md
    scoring.protocol = "calibrated"  # or "paper": normalised over the test set, true class given
    # calibrated: class of an image "inferred" from it, "mixture" (likelihood under all classes; a pass of
    # the flow for each), or "given"
    scoring.classes = "inferred"
    scoring.threshold = "conformal"  # from calibration.false_alarm_rate, or a number: a manual threshold
    scoring.image_map = "level"  # how levels and terms are combined for the image score
    scoring.pixel_map = "log_exponential"  # and for the heat map; names in hgad_jax/scoring/combination.py
    scoring.top_fraction = 0.01  # image score: mean of this share of highest pixels; 0: the maximum
    scoring.sigma = 0.0  # pixels; Gaussian smoothing of the maps
    # an image is of no known class if every level is unlike good images at all but this share of positions
    scoring.ordinary_fraction = 0.1
    scoring.batch_size = 8  # images
    if preset not in PRESETS:
        raise UserError(f"Preset '{preset}' is not known; known presets: {', '.join(PRESETS)}.")
    PRESETS[preset](config)
    return config


def _paper(config: ml_collections.ConfigDict) -> None:
    config.data.update(image_size=1024, resize="short_side_crop", interpolation="lanczos")
    config.backbone.taps = ("blocks.4",)
    config.backbone.scales = (1, 2, 4)
    config.backbone.update(PLAIN)
    config.detector.update(
        num_blocks=12,
        condition_channels=256,
        identity_init=False,
        conditioning="none",
        per_class=False,
        regions=0,
        num_centres=10,
        delta_scale=1.0,
    )
    config.loss.update(mutual_information=100.0, entropy=1.0, intra=1.0, log_sigmoid=1.0)
    config.train.update(
        epochs=200.0,
        stage_two_epoch=16.0,
        batch_size=8,
        positions=0,
        micro_batches=8,
        learning_rate=2e-4,
        warmup_epochs=16.0,
        hold_epochs=8.0,
        weight_decay=1e-4,
        clip_norm=0.0,
        keep="last",
    )
    config.scoring.protocol = "paper"


PLAIN = {"equalize": 0.0, "neighbours": ()}  # maps as the backbone gives them, as all papers have them
PRESETS = {"default": lambda config: None, "paper": _paper}
