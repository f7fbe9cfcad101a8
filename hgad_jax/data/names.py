"""What the names of folders and files say: for training or for testing, good, defective, a mask.

Nothing is read by these words but MVTec AD's own; they serve to see what a folder of another layout is, and
to refuse what would be taken for the contrary of what its name says.
"""

import enum
import os
import re
import unicodedata


class Role(enum.Enum):
    """What a folder is for, by its name."""

    TRAIN = "training images"
    TEST = "test images"
    VALIDATION = "validation images"
    GOOD = "good images"
    BAD = "defective images"
    MASK = "masks"
    IMAGES = "images"
    DEPTH = "depths"


# Without blanks, dashes and accents, in small letters.
_WORDS = {
    Role.TRAIN: "train training trainset trainingset traindata trainingdata",
    Role.TEST: "test testing tests testset testdata testpublic testprivate testprivatemixed eval evaluation",
    Role.VALIDATION: "val valid validation validationset dev",
    Role.GOOD: "good ok okay oks goods io iokay inordnung gut gute gutteil gutteile fehlerfrei normal "
    "normals nominal pass passed accept accepted perfect healthy clean faultless flawless undamaged "
    "defectfree nodefect nodefects nondefect nondefects nondefective notdefective noanomaly nofault "
    "bon bonne bonnes conforme conformes sansdefaut buono buoni buona buone bueno "
    "buenos buena buenas sindefecto bom bons aprovado goed dobry dobre god bra iyi хорошие норма годные 良 "
    "良品 正常 合格 合格品 好 양품 정상",
    Role.BAD: "bad bads ng ngs nok nio ko kos notok notgood defect defects defective defectives def defekt "
    "defekte anomaly anomalies anomalous abnormal fail fails failed failure fault faults faulty error errors "
    "reject rejects rejected scrap schlecht schlechte schlechtteil schlechtteile nichtinordnung fehler "
    "fehlerhaft ausschuss mauvais mauvaise defaut defauts defectueux nonconforme nonconformes rebut difetto "
    "difetti difettoso difettosi scarto scarti malo malos mala malas defecto defectos defectuoso defectuosos "
    "ruim defeito defeitos reprovado slecht fout zly wada wady fel kotu hatali брак дефект дефекты 不良 "
    "不良品 异常 異常 缺陷 欠陥 不合格 不合格品 坏 불량 불량품 비정상",
    Role.MASK: "mask masks maske masken groundtruth groundtruths gt gts label labels labelmask annotation "
    "annotations segmentation segmentations seg",
    Role.IMAGES: "image images img imgs picture pictures pic pics photo photos bild bilder rgb color colour "
    "data frames",
    Role.DEPTH: "xyz depth depths pointcloud pointclouds pcd",
}
_ROLES = {word: role for role, words in _WORDS.items() for word in words.split()}
_LABELS = {Role.GOOD, Role.BAD}
_SPLITS = r"[\s_\-.,()+]+"
# What systems put into folders by themselves; names that begin with a dot are passed over in any case.
_SYSTEM = {
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "#recycle", "$recycle.bin"),
    *("system volume information", "lost+found"),
}
_MASK_WORDS = ("masks?", "gt", "ground_?truth", "annotation", "segmentation", "seg")
_LABEL_WORDS = ("labels?",)  # a bottle has one, too


def _mask_name(*words: str) -> re.Pattern[str]:
    word = "|".join(words)
    return re.compile(rf"(.+?)[\s_\-.]+(?:{word})|(?:{word})[\s_\-.]+(.+)", re.IGNORECASE)


_MASK_NAME, _SURE_MASK_NAME = _mask_name(*_MASK_WORDS, *_LABEL_WORDS), _mask_name(*_MASK_WORDS)


def composed(name: str) -> str:
    """A name in the Unicode form that most systems give it: macOS and some archives take letters apart."""
    return unicodedata.normalize("NFC", name)


def folded(name: str) -> str:
    """A name as those see it to whom capitals, blanks at the ends and Unicode forms are all one."""
    return composed(name).strip().casefold()


def stem(path: str) -> str:
    """A file's name without folder and suffix."""
    return os.path.splitext(os.path.basename(path))[0]


def is_hidden(name: str) -> bool:
    """Whether a file or folder is the system's, and no user's: it is passed over without a word."""
    return name.startswith(".") or name.casefold() in _SYSTEM


def roles(name: str) -> tuple[Role, ...]:
    """What a folder's name says, word by word; nothing, where a word of it is any other.

    "OK", "ground truth" and "1_good" say one thing, "train_ok" two, "scratch" and "good_scratch" nothing.
    """
    whole = _key(name)
    for key in (whole, whole.strip("0123456789")):
        if key in _ROLES:
            return (_ROLES[key],)
    words = [word for word in map(_key, re.split(_SPLITS, name)) if word and not word.isdigit()]
    return tuple(_ROLES[word] for word in words) if all(word in _ROLES for word in words) else ()


def label(name: str) -> Role | None:
    """`Role.GOOD` or `Role.BAD` where that is among the words of a name, such as "def_front"; else None."""
    words = roles(name) or [_ROLES.get(_key(word)) for word in re.split(_SPLITS, name)]
    found = {word for word in words if word in _LABELS}
    return found.pop() if len(found) == 1 else None


def masked_stem(mask: str, *, sure: bool = False) -> str | None:
    """The name of the image that a mask's name speaks of: "x" for "x_mask", "x-GT", "label_x"; else None.

    Args:
        mask: without its suffix.
        sure: leave out what may well be called an image, "x_label".
    """
    match = (_SURE_MASK_NAME if sure else _MASK_NAME).fullmatch(mask.strip())
    return match and (match[1] or match[2])


def _key(name: str) -> str:
    letters = unicodedata.normalize("NFD", name.casefold())
    plain = "".join(letter for letter in letters if unicodedata.category(letter) != "Mn")
    return re.sub(_SPLITS, "", unicodedata.normalize("NFC", plain))
