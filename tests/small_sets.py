"""Small data sets of the same form as the real ones, with checksums of their own."""

import gzip
import hashlib
import io
import socket
import tarfile
from pathlib import Path

import numpy as np

from convcost.datasets import idx, lfw
from convcost.datasets.sets import FaceSet, IdxFile, IdxSet, RemoteFile


def listing(folder: Path) -> dict[str, bytes]:
    """{path: content} of everything under a folder, but for the lock (which holds nothing)."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"/"
        for path in sorted(folder.rglob("*"))
        if path.name != ".lock"
    }


def refused() -> str:
    """An address of this machine at which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/"


def idx_set(mirrors: tuple[str, ...]) -> tuple[IdxSet, dict[str, bytes]]:
    """(a set of 6 + 2 images of 4×5 pixels in 2 classes; {file name: content of its .gz})."""
    rng = np.random.default_rng(0)
    files, packed = {}, {}
    for split, stem, count in (("train", "train", 6), ("test", "t10k", 2)):
        pair = []
        for kind, shape in (("images-idx3", (count, 4, 5)), ("labels-idx1", (count,))):
            values = rng.integers(0, 2 if len(shape) == 1 else 256, shape, np.uint8)
            content = idx.header(shape) + values.tobytes()
            name = f"{stem}-{kind}-ubyte"
            # incompressible enough, and the same bytes each time
            packed[f"{name}.gz"] = gzip.compress(content, mtime=0)
            pair.append(
                IdxFile(
                    name,
                    shape,
                    hashlib.sha256(content).hexdigest(),
                    hashlib.md5(packed[f"{name}.gz"]).hexdigest(),
                )
            )
        files[split] = tuple(pair)
    spec = IdxSet(
        key="small",
        title="Small",
        folder="Small/raw",
        shape=(1, 4, 5),
        classes=("no", "yes"),
        images={"train": 6, "test": 2},
        download_bytes=1000,
        licence="none",
        citation="nobody",
        files=files,
        mirrors=mirrors,
    )
    return spec, packed


def photograph(seed: int, size: int = 250) -> bytes:
    """A JPEG of smooth colours and some texture, `size` × `size` pixels."""
    from PIL import Image

    y, x = np.mgrid[:size, :size] / size
    rng = np.random.default_rng(seed)
    waves = [np.sin(2 * np.pi * (a * x + b * y)) for a, b in rng.uniform(1, 12, (3, 2))]
    pixels = np.stack([128 + 100 * wave for wave in waves], axis=-1).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="JPEG", quality=90)
    return file.getvalue()


FACES = {  # file name -> (seed, label)
    "Ada_Lovelace_0001.jpg": (1, "female"),
    "Ada_Lovelace_0002.jpg": (2, "female"),
    "Alan_Turing_0001.jpg": (3, "male"),
    "Emmy_Noether_0001.jpg": (4, "female"),
}
UNCLEAR = {"Both_Lists_0001.jpg": 5, "No_List_0001.jpg": 6, "Left_Out_0001.jpg": 7}


def archive(members: list[tuple[tarfile.TarInfo | str, bytes]]) -> bytes:
    """A .tgz of (name or ready-made header, content)."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for member, content in members:
            info = tarfile.TarInfo(member) if isinstance(member, str) else member
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


def face_files() -> list[tuple[str, bytes]]:
    """(path in the archive, JPEG) of 4 labelled images and 3 unclear ones, as in lfw_funneled."""
    seeds = {name: seed for name, (seed, _) in FACES.items()} | UNCLEAR
    return [
        (f"lfw_funneled/{lfw.person_of(name)}/{name}", photograph(seed))
        for name, seed in seeds.items()
    ]


def face_lists() -> dict[str, bytes]:
    """The two lists of labels: Windows line ends, a blank line, a name that is no file name."""
    texts = {}
    for label in ("female", "male"):
        names = [name for name, (_, own) in FACES.items() if own == label]
        names += ["Both_Lists_0001.jpg", "No_Ending_0001"]
        names += ["Left_Out_0001.jpg"] if label == "male" else []
        texts[label] = ("\r\n".join(names) + "\r\n\r\n").encode()
    return texts


def face_set(address: str, tgz: bytes) -> FaceSet:
    """The set of `FACES`, its three files served at `address`."""
    return FaceSet(
        key="small_faces",
        title="Small faces",
        folder="small_faces",
        shape=(3, 64, 64),
        classes=("female", "male"),
        images={"train": 4, "validation": 0, "test": 0},
        download_bytes=1000,
        licence="none",
        citation="nobody",
        archive=RemoteFile(
            "faces.tgz",
            (f"{address}/faces.tgz",),
            f"sha256:{hashlib.sha256(tgz).hexdigest()}",
            10_000_000,
        ),
        lists={
            label: RemoteFile(f"{label}.txt", (f"{address}/{label}.txt",), None, 10_000)
            for label in ("female", "male")
        },
        left_out=("Left_Out_0001.jpg",),
        per_label={"female": 3, "male": 1},
        labels_sha256=lfw.labels_sha256([(label, name) for name, (_, label) in FACES.items()]),
    )
