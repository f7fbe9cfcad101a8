"""A second transcription of the published figures, column by column, typed without a look at the first."""

MVTEC = (  # as most tables order it: textures, then objects
    *("carpet", "grid", "leather", "tile", "wood", "bottle", "cable", "capsule", "hazelnut"),
    *("metal_nut", "pill", "screw", "toothbrush", "transistor", "zipper"),
)
ALPHABETICAL = tuple(sorted(MVTEC))
BACKBONES = ("r18", "wrn50", "deit", "cait")
BTAD = ("01", "02", "03")
MVTEC_3D = (
    *("bagel", "cable_gland", "carrot", "cookie", "dowel", "foam", "peach", "potato", "rope", "tire"),
)
VISA = (
    *("candle", "capsules", "cashew", "chewinggum", "fryum", "macaroni1", "macaroni2"),
    *("pcb1", "pcb2", "pcb3", "pcb4", "pipe_fryum"),
)

# name of the block → (rows, {column: figures down, the printed mean last; "." where none is printed})
COLUMNS = {
    "cflow_table2_wrn50_4cl_2pl_256": (
        ALPHABETICAL,
        {
            "pixel_auroc": """97.28 95.71 98.17 98.50 93.77 98.08 98.92 96.72 98.46 94.98 95.52 98.02 93.09
            90.65 96.80 96.31""",
            "pixel_auroc_std": ".03 .01 .02 .01 .05 .01 .02 .03 .02 .06 .02 .03 .28 .10 .02 .",
        },
    ),
    "cflow_table2_wrn50_8cl_2pl_256": (
        ALPHABETICAL,
        {
            "pixel_auroc": """97.24 96.17 98.19 98.55 93.88 98.13 99.00 96.72 98.46 95.28 95.66 97.98 94.05
            90.59 97.01 96.46""",
            "pixel_auroc_std": ".03 .07 .05 .01 .16 .02 .06 .06 .01 .06 .06 .00 .11 .07 .05 .",
        },
    ),
    "cflow_table2_wrn50_256": (
        ALPHABETICAL,
        {
            "pixel_auroc": """98.76 97.64 98.98 99.23 96.89 98.82 99.61 98.56 98.95 98.10 97.71 98.56 93.28
            94.49 98.41 97.87""",
            "pixel_auroc_std": ".01 .04 .00 .01 .02 .01 .01 .03 .00 .05 .02 .02 .40 .03 .09 .",
        },
    ),
    "cflow_table2_wrn50_512": (
        ALPHABETICAL,
        {
            "pixel_auroc": """98.98 97.12 98.64 99.25 98.99 98.89 99.66 98.25 98.52 98.86 98.01 98.93 80.52
            96.65 99.08 97.36""",
            "pixel_auroc_std": ".01 .06 .02 .01 .02 .01 .00 .04 .05 .02 .01 .00 .13 .01 .02 .",
        },
    ),
    "cflow_table2_wrn50_512_uflow": (
        ALPHABETICAL,
        {
            "pixel_auroc": """98.83 95.29 98.40 99.24 98.74 98.88 99.65 98.16 98.20 98.78 97.98 98.89 76.28
            96.56 99.06 96.86""",
            "pixel_auroc_std": ".01 .04 .12 .00 .00 .01 .00 .03 .08 .01 .02 .00 .14 .02 .01 .",
        },
    ),
    "cflow_table2_r18_256": (
        ALPHABETICAL,
        {
            "pixel_auroc": """98.47 96.75 98.62 99.00 93.95 98.81 99.45 97.59 98.34 97.38 95.10 98.44 92.71
            93.51 97.71 97.06""",
            "pixel_auroc_std": ".03 .04 .02 .01 .04 .01 .01 .05 .02 .03 .02 .02 .23 .03 .06 .",
        },
    ),
    "cflow_table2_r18_512": (
        ALPHABETICAL,
        {
            "pixel_auroc": """98.64 96.07 98.28 99.29 98.53 98.41 99.51 96.42 97.80 98.40 95.80 99.00 83.34
            95.00 98.98 96.90""",
            "pixel_auroc_std": ".01 .06 .05 .00 .01 .01 .02 .03 .05 .03 .10 .01 .46 .04 .01 .",
        },
    ),
    "cflow_table2_mnv3_256": (
        ALPHABETICAL,
        {
            "pixel_auroc": """98.74 97.62 98.89 98.64 94.75 98.88 99.50 98.36 98.69 98.04 96.07 98.09 97.79
            92.24 97.50 97.59"""
        },
    ),
    "cflow_table2_mnv3_512": (
        ALPHABETICAL,
        {
            "pixel_auroc": """98.92 97.49 98.75 99.00 98.81 99.00 99.64 98.78 98.44 99.09 96.48 98.80 95.22
            94.96 99.07 98.16"""
        },
    ),
    "cflow_table3_r18": (
        ALPHABETICAL,
        {
            "image_auroc": """100 97.62 93.15 98.20 98.97 99.91 100 98.45 93.02 85.94 98.40 99.86 93.04 98.59
            96.15 96.75""",
            "pixel_auroc": """98.64 96.75 98.62 99.29 98.53 98.81 99.51 97.59 98.34 98.40 95.80 99.00 97.69
            95.00 98.98 98.06""",
        },
    ),
    "cflow_table3_wrn50": (
        ALPHABETICAL,
        {
            "image_auroc": """100 97.59 97.68 98.73 99.60 99.98 100 99.26 96.82 91.89 99.88 99.65 95.21 99.12
            98.48 98.26""",
            "pixel_auroc": """98.98 97.64 98.98 99.25 98.99 98.89 99.66 98.56 98.95 98.86 98.01 98.93 97.99
            96.65 99.08 98.62""",
            "pixel_aupro_dfr1000": """96.80 93.53 93.40 97.70 96.08 96.68 99.35 91.65 95.39 95.30 94.34 95.06
            81.40 95.79 96.60 94.60""",
        },
    ),
    "cflow_table3_spade": (
        ALPHABETICAL,
        {
            "pixel_auroc": """98.4 97.2 99.0 97.5 93.7 99.1 97.6 98.1 96.5 98.9 87.4 97.9 94.1 88.5 96.5
            96.0""",
            "pixel_aupro": """95.5 90.9 93.7 94.7 86.7 95.4 97.2 94.4 94.6 96.0 75.9 93.5 87.4 97.4 92.6
            91.7""",
        },
    ),
    "cflow_table3_padim": (
        ALPHABETICAL,
        {
            "pixel_auroc": """98.3 96.7 98.5 99.1 97.3 98.2 98.9 97.2 95.7 98.5 94.1 98.8 97.5 94.9 98.5
            97.5""",
            "pixel_aupro": """94.8 88.8 93.5 96.2 94.6 92.6 88.8 85.6 92.7 94.4 86.0 93.1 84.5 91.1 95.9
            92.1""",
        },
    ),
    "cflow_table4_spade": ((), {"image_auroc": "85.5", "pixel_auroc": "96.0", "pixel_aupro": "91.7"}),
    "cflow_table4_padim": ((), {"image_auroc": "97.9", "pixel_auroc": "97.5", "pixel_aupro": "92.1"}),
    "cflow_table4_wrn50": (
        (),
        {"image_auroc": "98.26", "pixel_auroc": "98.62", "pixel_aupro_dfr1000": "94.60"},
    ),
    "cflow_table5_spade": ((), {"image_auroc": "71.9", "pixel_auroc": "89.9"}),
    "cflow_table5_padim": ((), {"image_auroc": ".", "pixel_auroc": "91.2"}),
    "cflow_table5_wrn50": ((), {"image_auroc": "72.63", "pixel_auroc": "94.48"}),
    "cflow_table6": (
        (
            *("r18_encoder", "padim_r18", "cflow_r18", "wrn50_encoder", "spade_wrn50", "padim_wrn50"),
            *("cflow_wrn50", "mnv3_encoder", "cflow_mnv3"),
        ),
        {
            "fps_256": "80 4.4 34 62 .1 1.1 27 82 35",
            "fps_512": "62 . 12 30 . . 9 61 12",
            "mb_stc": "45 210 96 268 37000 5200 947 12 25",
            "mb_mvtec": "45 170 96 268 1400 3800 947 12 25",
        },
    ),
    "hgad_mvtec_ad": (
        MVTEC,
        {
            "image_auroc": """100 99.7 100 100 99.6 100 97.0 98.8 99.8 100 96.6 96.1 91.1 97.7 99.9 98.4""",
            "pixel_auroc": """99.4 99.1 99.6 96.1 95.9 98.6 95.9 99.2 98.8 98.1 98.8 99.3 99.0 91.3 99.0
            97.9""",
        },
    ),
    "hgad_btad": (BTAD, {"image_auroc": "100 85.9 98.7 94.9", "pixel_auroc": "97.6 97.3 99.0 98.0"}),
    "hgad_mvtec_3d_rgb": (
        MVTEC_3D,
        {
            "image_auroc": "97.7 96.3 88.9 73.4 96.0 81.1 82.9 69.0 97.6 87.6 87.1",
            "pixel_auroc": "98.8 99.5 98.8 96.6 99.2 91.7 99.4 95.0 99.2 98.6 97.7",
        },
    ),
    "hgad_visa": (
        VISA,
        {
            "image_auroc": "98.8 95.6 91.0 99.9 98.4 99.1 92.6 97.6 95.6 98.6 97.9 99.6 97.1",
            "pixel_auroc": "99.5 99.0 99.1 99.6 94.9 99.8 99.7 99.5 98.3 99.4 98.7 99.3 98.9",
        },
    ),
    "hgad_union": (
        (*ALPHABETICAL, *BTAD, *MVTEC_3D, *VISA),
        {
            "image_auroc": """100 95.1 93.4 100 98.6 100 100 99.7 96.9 81.2 99.9 96.1 99.6 99.4 99.9
            99.7 83.8 99.5 98.3 88.6 81.5 79.2 89.6 79.8 85.6 62.5 92.9 83.5
            98.9 93.9 92.8 99.6 97.6 97.5 90.3 96.4 96.6 96.4 98.1 99.1 93.5""",
            "pixel_auroc": """98.2 86.0 99.0 99.3 98.3 98.5 99.5 98.1 98.4 98.6 93.6 99.2 90.1 95.7 99.2
            97.4 96.9 99.7 99.1 99.0 99.0 97.2 97.8 91.3 99.3 95.8 99.4 96.5
            99.6 97.5 98.7 99.6 93.8 99.7 99.5 99.2 97.2 99.0 98.1 99.2 97.5""",
        },
    ),
    "hgad_table2": (
        ("padim", "fastflow", "cflow", "hgad"),
        {
            "gflop": "14.9 36.2 30.7 32.8",
            "million_parameters": ". 69.8 24.7 30.8",
            "fps": "12.8 42.7 24.6 24.3",
            "epochs": ". 400 200 100",
        },
    ),
    "hgad_table3_padim": (
        MVTEC,
        {
            "image_auroc": "99.8 96.7 100 98.1 99.2 99.9 92.7 91.3 92.0 98.7 93.3 85.8 96.1 97.4 90.3 95.5",
            "pixel_auroc": """99.0 97.1 99.0 94.1 94.1 98.2 96.7 98.6 98.1 97.3 95.7 98.4 98.8 97.6 98.4
            97.4""",
        },
    ),
    "hgad_table3_fastflow": (
        MVTEC,
        {
            "image_auroc": "100 99.7 100 100 100 100 100 100 100 100 99.4 97.8 94.4 99.8 99.5 99.4",
            "pixel_auroc": """99.4 98.3 99.5 96.3 97.0 97.7 98.4 99.1 99.1 98.5 99.2 99.4 98.9 97.3 98.7
            98.5""",
        },
    ),
    "hgad_table3_cflow": (
        MVTEC,
        {
            "image_auroc": "100 97.6 97.7 98.7 99.6 100 100 99.3 96.8 91.9 99.9 99.7 95.2 99.1 98.5 98.3",
            "pixel_auroc": """99.3 99.0 99.7 98.0 96.7 99.0 97.6 99.0 98.9 98.6 99.0 98.9 99.0 98.0 99.1
            98.6""",
        },
    ),
    "hgad_table3_fastflow_unified": ((), {"image_auroc": "91.8", "pixel_auroc": "96.0"}),
}
