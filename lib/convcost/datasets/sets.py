"""What each data set is: files, sizes, checksums, addresses, licence, whom to cite.

Facts only, nothing is read or fetched here. A specification is a frozen dataclass, so a test (or a
user with a mirror) replaces one field with `dataclasses.replace` and hands the result to
`datasets.load` or `datasets.fetch` in place of a name.
"""

from dataclasses import dataclass, field
from math import prod

from convcost.core.errors import BadInputError

MEGABYTE = 1_000_000


@dataclass(frozen=True)
class RemoteFile:
    """One file to download: the same bytes at each of `urls`, tried in this order.

    `known_hash` is "md5:…" or "sha256:…" of the file as it lies on the server, or None where only
    its content can be checked, by whoever asks for it. `max_bytes` bounds what is accepted.
    """

    name: str
    urls: tuple[str, ...]
    known_hash: str | None
    max_bytes: int


@dataclass(frozen=True)
class IdxFile:
    """One uncompressed IDX file: its name, the shape of its array, its sha256 and its .gz's md5."""

    name: str
    shape: tuple[int, ...]
    sha256: str
    gz_md5: str


@dataclass(frozen=True)
class Common:
    key: str  # the name that `load` takes
    title: str
    folder: str  # under CONVCOST_DATA or data/raw
    shape: tuple[int, int, int]  # of one image: channels, height, width
    classes: tuple[str, ...]
    images: dict[str, int]  # split -> how many; the order is the order of `splits`
    download_bytes: int
    licence: str
    citation: str
    fingerprints: dict[str, str] = field(default_factory=dict)  # split -> sha256 of the content

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.images)

    @property
    def total(self) -> int:
        return sum(self.images.values())


@dataclass(frozen=True)
class IdxSet(Common):
    """MNIST's own format: two IDX files per split, in torchvision's raw layout."""

    files: dict[str, tuple[IdxFile, IdxFile]] = field(default_factory=dict)  # images, labels
    mirrors: tuple[str, ...] = ()

    def remote(self, file: IdxFile) -> RemoteFile:
        """The gzipped form of one file, on every mirror."""
        # gzip never grows a file by more than a few bytes in 32 KB; half again is generous
        return RemoteFile(
            f"{file.name}.gz",
            tuple(f"{mirror}{file.name}.gz" for mirror in self.mirrors),
            f"md5:{file.gz_md5}",
            1_000_000 + prod(file.shape) * 3 // 2,
        )

    @property
    def urls(self) -> tuple[str, ...]:
        return self.mirrors


@dataclass(frozen=True)
class FaceSet(Common):
    """Faces with one label each: a folder per label, `<Person_Name>_<nnnn>.jpg` in it."""

    archive: RemoteFile | None = None
    lists: dict[str, RemoteFile] = field(default_factory=dict)  # label -> list of file names
    left_out: tuple[str, ...] = ()  # file names that get no label, whatever the lists say
    per_label: dict[str, int] = field(default_factory=dict)
    labels_sha256: str = ""  # of the sorted lines "<file name> <label>\n"

    @property
    def urls(self) -> tuple[str, ...]:
        lists = (remote.urls for remote in self.lists.values())
        return tuple(url for urls in (self.archive.urls, *lists) for url in urls)


@dataclass(frozen=True)
class EmbeddedSet(Common):
    """A set that comes with scikit-learn: no download."""

    urls: tuple[str, ...] = ()


DIGIT_NAMES = tuple("0123456789")

_MNIST_SHAPES = {"train": ((60_000, 28, 28), (60_000,)), "test": ((10_000, 28, 28), (10_000,))}


def _idx_files(
    hashes: dict[str, tuple[tuple[str, str], tuple[str, str]]],
) -> dict[str, tuple[IdxFile, IdxFile]]:
    """{split: ((sha256, md5 of the .gz) of the images, the same of the labels)} to IdxFiles."""
    stems = {"train": "train", "test": "t10k"}
    return {
        split: (
            IdxFile(f"{stems[split]}-images-idx3-ubyte", _MNIST_SHAPES[split][0], *images),
            IdxFile(f"{stems[split]}-labels-idx1-ubyte", _MNIST_SHAPES[split][1], *labels),
        )
        for split, (images, labels) in hashes.items()
    }


# sha256 of the uncompressed files: of the original distribution; md5 of the .gz: as torchvision
MNIST = IdxSet(
    key="mnist",
    title="MNIST",
    folder="MNIST/raw",
    shape=(1, 28, 28),
    classes=DIGIT_NAMES,
    images={"train": 60_000, "test": 10_000},
    download_bytes=11_600_000,
    licence="CC BY-SA 3.0",
    citation="LeCun, Bottou, Bengio & Haffner 1998, Proc. IEEE 86(11)",
    fingerprints={
        "train": "c3f45cbf39be1a82462d7cc11d0b0f7e7ecb5843263651944c605d98e61f260c",
        "test": "292c74ea4043db48dc609fd949c5348331e6fe24887b72a7901efeef87a11e05",
    },
    files=_idx_files(
        {
            "train": (
                (
                    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                    "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                ),
                (
                    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
                    "d53e105ee54ea40749a09fcbcd1e9432",
                ),
            ),
            "test": (
                (
                    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                    "9fb629c4189551a2d022fa330f9573f3",
                ),
                (
                    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
                    "ec29112dd5afa0611ce80d1b7f02629c",
                ),
            ),
        }
    ),
    mirrors=("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"),
)

FASHION_MNIST = IdxSet(
    key="fashionmnist",
    title="Fashion-MNIST",
    folder="FashionMNIST/raw",
    shape=(1, 28, 28),
    classes=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    images={"train": 60_000, "test": 10_000},
    download_bytes=30_900_000,
    licence="MIT",
    citation="Xiao, Rasul & Vollgraf 2017, arXiv:1708.07747",
    fingerprints={
        "train": "bba5749b576e457b18067a73fb62cd127a8841f08eb2795fe944967d3a7bd7a0",
        "test": "a062c880696ac359fcfaf3e418c2b249f1548f7a32432c072a599fd0b350a9ab",
    },
    files=_idx_files(
        {
            "train": (
                (
                    "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
                    "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                ),
                (
                    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
                    "25c81989df183df01b3e8a0aad5dffbe",
                ),
            ),
            "test": (
                (
                    "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
                    "bef4ecab320f06d8554ea6380940ec79",
                ),
                (
                    "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
                    "bb300cfdad3c16e7a12a480ee83cd310",
                ),
            ),
        }
    ),
    mirrors=(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    ),
)

# The label lists of Afifi & Abdelhamed have no lasting address of the authors' own (theirs is a
# short link to a shared folder). These are copies of the two text files in public repositories,
# each pinned to a commit. No hash of the originals was at hand, and copies differ in details (line
# ends, hand corrections), so what counts is checked instead: `labels_sha256`, which is the content
# of the reference set, name by name.
_COPIES = "https://raw.githubusercontent.com"
_COPY_A = f"{_COPIES}/Mafffia/Face-Recognization-Related/805b316e82195a6f96d732f4de3856ea79594f2c"
_COPY_B = (
    f"{_COPIES}/sushii2001/DeepFace-gender-bias-detection/98ef66449c019b50f97db20c29bec323bb4e1c86"
)
_COPY_C = f"{_COPIES}/Lukeli0425/Gender-Classification/f9073b8115471f48e8b2c7646869bccfc2a0cc7e"

LFW_GENDER = FaceSet(
    key="lfw_gender",
    title="LFW gender",
    folder="lfw_gender",
    shape=(3, 64, 64),
    classes=("female", "male"),
    images={"train": 9_445, "validation": 2_068, "test": 1_711},
    download_bytes=244_000_000,
    licence="none named by its authors; made for research",
    citation=(
        "Huang, Ramesh, Berg & Learned-Miller 2007 (UMass TR 07-49); funneled by Huang, Jain & "
        "Learned-Miller 2007 (ICCV); labels of Afifi & Abdelhamed 2017, arXiv:1706.04277"
    ),
    fingerprints={
        "train": "11f10518b01146503cd70179e088c55f13195120ca935d09e231310c3482ebfb",
        "validation": "682a3ee9f9f8fb4cfc129d86215aaa5a1c47d3d8c7a9d0aaa44150592a78db72",
        "test": "e1ead25366660117204cdbbe21b7b810b035ed21c2d733bde9763d680e811a57",
    },
    archive=RemoteFile(
        "lfw-funneled.tgz",
        (
            "https://ndownloader.figshare.com/files/5976015",  # scikit-learn's copy
            "http://vis-www.cs.umass.edu/lfw/lfw-funneled.tgz",  # the original place
        ),
        "sha256:b47c8422c8cded889dc5a13418c4bc2abbda121092b3533a83306f90d900100a",
        300 * MEGABYTE,
    ),
    lists={
        "female": RemoteFile(
            "female_names.txt",
            (f"{_COPY_B}/female_names.txt", f"{_COPY_A}/female_names.txt"),
            None,
            2 * MEGABYTE,
        ),
        "male": RemoteFile(
            "male_names.txt",
            (f"{_COPY_C}/male_names.txt", f"{_COPY_A}/male_names.txt"),
            None,
            2 * MEGABYTE,
        ),
    },
    # 13,233 images less these 9: the lists name the first five under both labels and the last four
    # under none. Some copies of the lists have been corrected by hand since; the set has not.
    left_out=(
        "Allison_Searing_0001.jpg",
        "Claudia_Coslovich_0001.jpg",
        "Elizabeth_Hill_0001.jpg",
        "Erika_Reyes_0001.jpg",
        "Tatiana_Shchegoleva_0001.jpg",
        "Robert_Evans_0001.jpg",
        "Robert_Evans_0002.jpg",
        "Tara_Kirk_0001.jpg",
        "Yasser_Arafat_0005.jpg",
    ),
    per_label={"female": 2_961, "male": 10_263},
    labels_sha256="d185375963966c4908e83c563919bed9ce74b6a57fd6e6cfd08f0d8651d123bc",
)

DIGITS = EmbeddedSet(
    key="digits",
    title="scikit-learn digits",
    folder="",
    shape=(1, 8, 8),
    classes=DIGIT_NAMES,
    images={"train": 1_447, "test": 350},
    download_bytes=0,
    licence="CC BY 4.0",
    citation="Alpaydin & Kaynak 1998, UCI Optical Recognition of Handwritten Digits",
)

SETS = {spec.key: spec for spec in (MNIST, FASHION_MNIST, LFW_GENDER, DIGITS)}


def find(name):
    """The specification called `name`; one that is handed in comes back as it is.

    Raises BadInputError for an unknown name.
    """
    if isinstance(name, Common):
        return name
    try:
        return SETS[name]
    except (KeyError, TypeError):
        raise BadInputError(
            f"no data set is called {name!r}; there are: {', '.join(SETS)}"
        ) from None
