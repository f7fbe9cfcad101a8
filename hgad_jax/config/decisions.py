"""The keys of calibration, scores and decisions that every detector's config has."""

from hgad_jax.config.key import Key, accepted, at_least, each, one_of, passes
from hgad_jax.data import named_groups
from hgad_jax.scoring.combination import COMBINATIONS
from hgad_jax.scoring.decision import PIXEL_KINDS, PIXELS, TAIL, parse_threshold
from hgad_jax.scoring.evidence import EXPECTED, IMAGE_SCORES, OF_MAP, parse_piece
from hgad_jax.scoring.judged import UNKNOWNS, WARN
from hgad_jax.scoring.per_class import LEAST_RATE, MOST_RATE, class_rate
from hgad_jax.scoring.published import BOTH, TERMS

CALIBRATION = {
    "fraction": Key(
        0.15,
        "of each class's good images, held out of training; 0: none, as papers train, and no thresholds",
        at_least(0, 0.5),
    ),
    "min_images": Key(10, "if any, at least so many of each class", at_least(2), "images"),
    "groups": Key(
        named_groups.AUTO,
        "near-duplicates, such as exposures of one part, which are held out together: auto finds them by "
        "features; name:REGEX or csv:FILE (columns path,group) say which there are",
        passes(named_groups.EXPECTED, named_groups.of_a_kind),
        before=named_groups.NONE,
    ),
    "false_alarm_rate": Key(
        0.01, "share of good images that may be called anomalous", at_least(LEAST_RATE, MOST_RATE)
    ),
    "class_rates": Key(
        (),
        "another share for these classes, each as CLASS=RATE, such as screw=0.02",
        each(passes("CLASS=RATE, such as screw=0.02", accepted(class_rate))),
        before=(),
    ),
    "threshold_per": Key(
        "class", "class, or model: one for all, when classes have few images", one_of(("class", "model"))
    ),
    "pixel_threshold": Key(
        PIXELS,
        "of the heat map and its regions: pixels, the share of good images' pixels above it is pixel_rate; "
        "image, the share of good images with any pixel above it is their rate of false alarms, which marks "
        "fewer good images and touches fewer defects",
        one_of(PIXEL_KINDS),
    ),
    "pixel_rate": Key(
        0.001, "with pixel_threshold=pixels: share of good images' pixels above it", at_least(0, 0.5)
    ),
}

SCORING = {
    "protocol": Key(
        "calibrated",
        "or paper: normalised over the test set, true class given",
        one_of(("calibrated", "paper")),
    ),
    "classes": Key(
        "inferred",
        "calibrated: class of an image inferred from it, mixture (likelihood under all classes; a pass of "
        "the flow for each), or given",
        one_of(("inferred", "mixture", "given")),
    ),
    "threshold": Key(
        TAIL,
        "from the rate of false alarms: tail, by the fitted tail of good images' scores, without images that "
        "stand apart; conformal, by the scores themselves, all of them; or a number, set by hand; for one "
        "class as CLASS=VALUE, several with a comma between",
        passes("'tail', 'conformal' or a finite number, or such as CLASS=VALUE", accepted(parse_threshold)),
    ),
    "unknown": Key(
        WARN,
        "an image like no class of the model: warn, its score decides; reject, it is called anomalous",
        one_of(UNKNOWNS),
    ),
    "min_area": Key(
        0.0,
        "regions of less are left out of tables and contours",
        at_least(0),
        "pixels of the image",
        before=0.0,
    ),
    "image_score": Key(
        OF_MAP,
        "the score of an image: map, that of the map image_map; or those that pieces of evidence give by "
        "themselves, in deviations from held-out good images, combined: two_highest (their sum), highest, "
        "sum, logsumexp",
        one_of((OF_MAP, *IMAGE_SCORES)),
        before=OF_MAP,
    ),
    "evidence": Key(
        (),
        "these pieces: levels by their numbers, from 0 on, those of a bank last, standardised by level: '1'; "
        "'0+1+2', their sum; '0+1+2@position', standardised position by position; (): each level by itself",
        each(passes(EXPECTED, accepted(parse_piece))),
    ),
    "image_map": Key(
        "level",
        "with image_score=map: how levels and terms are combined to it",
        one_of(tuple(COMBINATIONS)),
    ),
    "pixel_map": Key("log_exponential", "and for the heat map", one_of(tuple(COMBINATIONS))),
    "top_fraction": Key(
        0.01, "image score: mean of this share of highest pixels; 0: the maximum", at_least(0, 1)
    ),
    "sigma": Key(0.0, "Gaussian smoothing of the maps", at_least(0, 1000), "pixels"),
    "map_size": Key(
        0,
        "protocol paper: side of maps and masks, whatever the side of the images; 0: the same",
        at_least(0, 16384),
        "pixels",
        before=0,
    ),
    "terms": Key(
        BOTH,
        "protocol paper, HGAD: maps of likelihood and entropy multiplied, or of one of them alone",
        one_of(TERMS),
        before=BOTH,
    ),
    "ordinary_fraction": Key(
        0.1,
        "an image is of no known class if every level is unlike good images at all but this share of "
        "positions",
        at_least(0, 1),
    ),
    "batch_size": Key(8, "scored at a time", at_least(1), "images"),
}
