"""Is an uploaded picture one that the lab knows, a near copy of one, or new? And how alike is its nearest pin?

Copies are found by the fingerprints of `catalog.near`, over the whole catalog. They take about 5 ms a picture, so they
are taken in small steps (`learn`) while the app already serves. Of 150 pins of the bundled lab a JPEG of quality 60 was
told as a copy in 99 %, half the size in 96 %, with 5 % cropped off every side in 5 %: a crop is new here.

Whether a new picture is like anything here is decided by a threshold that is calibrated on the lab's own pictures and
on pictures from outside (`recommend.calibration`), measured here in small steps too where no calibration is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from pinlab.catalog.images import read_image
from pinlab.catalog.near import COLOUR_STEP, HASH_BITS, fingerprint
from pinlab.catalog.store import Catalog
from pinlab.recommend.calibration import calibrate, foreign_pictures
from pinlab.records import Calibration, Recognised

SAMPLE, SAMPLE_SEED = 120, 0
# Mean difference of the tiny colour pictures, in grey levels, up to which an equal hash means the same picture.
SAME_COLOUR = 2.0
Print = tuple[int, np.ndarray]


class Familiar:
    """Fingerprints of one catalog, and how far its pictures lie apart.

    Args:
        catalog: whose pictures are known.
        embed: uint8 pictures to float32 (n, E) embeddings, as uploads are embedded; None without a pin encoder.
        embeddings: gives float32 (N, E) of the catalog's pins, asked for when first needed.
        stored: a calibration that need not be measured here.
    """

    def __init__(
        self,
        catalog: Catalog,
        embed: Callable[[Sequence[np.ndarray]], np.ndarray] | None,
        embeddings: Callable[[], np.ndarray],
        stored: Calibration | None = None,
    ) -> None:
        self.catalog, self.embed, self.embeddings = catalog, embed, embeddings
        self._prints: dict[str, Print] = {}
        self._inside: list[float] = []
        self._outside: list[float] = []
        self._calibration = stored
        rows = np.random.default_rng(SAMPLE_SEED).permutation(len(catalog))[:SAMPLE]
        measured = embed is not None and stored is None
        self._own = [int(row) for row in rows] if measured else []
        self._foreign = [make for _, make in foreign_pictures()] if measured else []
        self._index: tuple[np.ndarray, np.ndarray] | None = None

    def learn(self, pictures: int) -> bool:
        """Look at the next `pictures` of the catalog; whether any are left."""
        left = [pin.id for pin in self.catalog.pins if pin.id not in self._prints][:pictures]
        for pin in left:
            self.print_of(pin)
        if not left and (self._own or self._foreign):
            self._measure(max(1, pictures // 6))  # encoding one takes as long as six fingerprints
        return bool(left or self._own or self._foreign)

    @property
    def learnt(self) -> float:
        """Share of the catalog's pictures that were looked at, 0 to 1."""
        return len(self._prints) / max(1, len(self.catalog))

    @property
    def calibration(self) -> Calibration | None:
        """From which likeness on a picture counts as unlike the lab; None while that is unknown."""
        if self._calibration is None and not self._own and not self._foreign:
            self._calibration = calibrate(self._inside, self._outside)
        return self._calibration

    def print_of(self, pin: str) -> Print:
        """The fingerprint of a pin's picture, taken once."""
        if pin not in self._prints:
            self._prints[pin] = fingerprint(read_image(self.catalog.image_bytes(pin), pin))
        return self._prints[pin]

    def recognise(self, image: np.ndarray) -> Recognised:
        """What one uploaded picture, uint8 (H, W, 3), is to this lab."""
        kind, twin = self._twin(fingerprint(image))
        if self.embed is None:
            return Recognised(kind, twin, None, None, None)
        (likeness,) = self._cosines([image])
        best = int(likeness.argmax())
        return Recognised(kind, twin, self.catalog.pins[best].id, float(likeness[best]), self.calibration)

    def _twin(self, taken: Print) -> tuple[str, str | None]:
        if self.learnt < 1:
            return "unknown", None
        if self._index is None:
            prints = [self._prints[pin.id] for pin in self.catalog.pins]
            hashes = np.array([value for value, _ in prints], dtype=np.uint64)
            self._index = hashes, np.stack([colours for _, colours in prints])
        hashes, colours = self._index
        bits = np.bitwise_count(hashes ^ np.uint64(taken[0]))
        colour = np.abs(colours - taken[1]).mean(1)
        close = np.flatnonzero((bits <= HASH_BITS) & (colour <= COLOUR_STEP))
        if not len(close):
            return "new", None
        best = min(close.tolist(), key=lambda row: (bits[row], colour[row], row))
        same = bits[best] == 0 and colour[best] <= SAME_COLOUR
        return "known" if same else "near", self.catalog.pins[best].id

    def likeness(self, pictures: Sequence[np.ndarray], rows: Sequence[int | None]) -> list[float]:
        """Cosine of each picture with its nearest pin, but for the pin of its own row, if any."""
        cosines = self._cosines(pictures)
        for line, row in zip(cosines, rows, strict=True):
            if row is not None:
                line[row] = -np.inf
        return cosines.max(1).tolist()

    def _cosines(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """float32 (n, N), of every picture with every pin; by torch, whose threads do not spin on as numpy's do."""
        assert self.embed is not None
        return (torch.from_numpy(self.embed(pictures)) @ torch.from_numpy(self.embeddings()).T).numpy()

    def likeness_of_pins(self, rows: Sequence[int]) -> list[float]:
        """The same of the catalog's own pictures, encoded bare."""
        pins = [self.catalog.pins[row].id for row in rows]
        return self.likeness([read_image(self.catalog.image_bytes(pin), pin) for pin in pins], rows)

    def _measure(self, pictures: int) -> None:
        """The next pictures of the lab's sample; when all are done, the next from outside."""
        if some := self._own[:pictures]:
            self._inside += self.likeness_of_pins(some)
            self._own = self._own[pictures:]
        else:
            made = [make() for make in self._foreign[:pictures]]
            self._outside += self.likeness(made, [None] * len(made))
            self._foreign = self._foreign[pictures:]
