"""What `evaluate` measures of a lab: its variants, the models with parts missing, and what both stand on."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch

from pinlab.cost import PRICES
from pinlab.embed.table import read_table
from pinlab.files import check_folder, read_record
from pinlab.lab import Lab, Variant
from pinlab.measure.ablation import (
    STALE_SHARES,
    Ablation,
    TfIdf,
    full_ablations,
    stale_variants,
    swapped_ablations,
    title_ablations,
)
from pinlab.measure.accuracy import Scorer
from pinlab.measure.amortisation import (
    ALONE,
    BATCH,
    BATCHES,
    PinWorker,
    Precompute,
    features_bytes,
    measure_precompute,
    row_bytes,
)
from pinlab.measure.depth import Depth
from pinlab.measure.document import WORD_FLOOR
from pinlab.measure.evaluate import evaluate, plain, planned_work
from pinlab.measure.growth import SIZES
from pinlab.measure.machine import energy_meter
from pinlab.measure.page_accuracy import pins_shown
from pinlab.measure.prices import at_entered, read_prices
from pinlab.measure.progress import (
    EMBED_MS,
    FLOOR,
    FULL,
    ITEM_MS,
    PICTURE_MS,
    SWAPPED,
    TOWER_MS,
    Bar,
    Progress,
    say_nothing,
)
from pinlab.measure.remembered import Remembered, ScoreStore
from pinlab.measure.report import REPORT, write_report
from pinlab.measure.robustness import CHANGES
from pinlab.measure.statistics import MARGIN
from pinlab.models.checkpoint import load_encoder, load_tokenizer, tower_folder
from pinlab.models.features import pin_content, tower_outputs
from pinlab.models.images import catalog_images
from pinlab.models.pin_encoder import embed_pictures, embed_unsaved, embed_words
from pinlab.models.prompt import PromptBuilder
from pinlab.recommend.variants import CachedVariant, FullVariant, SwappedVariant
from pinlab.records import PinLabError

UPLOAD_PINS = 100
PARTS = 3  # of swapped's embedding, each taken away once: see `_tables_with_parts_missing`
TAKE_UPLOADS = ("full", "swapped", "shallow", "pooled", "base", "nearest")
REPORTS, SOME = "reports", "some"  # folders: of the lab's report, and in it of evaluations of some variants

Made = TypeVar("Made")
Keep = Callable[[str, Scorer], Scorer]


def evaluate_lab(
    lab: Lab, names: Sequence[str] | None, margin: float = MARGIN, prices: Path | None = None
) -> dict:
    """Evaluate variants, write the report and return it.

    One of some variants only goes to `reports/some/`: the lab's report, which the app shows, stays what it is.

    Args:
        names: of the variants, None for all. margin: the loss of Recall that still counts as "not worse".
        prices: a file of entered prices, see `pinlab.measure.prices`; the report then has an "entered".
    """
    if not 0 < margin < 1:  # not a number fails, too
        raise PinLabError(f"--margin {margin}: it is a difference in Recall, so give a number between 0 and 1")
    known = [info.name for info in lab.variants()]
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise PinLabError(f"{unknown[0]} cannot answer in this lab; there are {', '.join(known)}")
    entered = read_prices(prices) if prices else None
    left = LeftOut()
    if names:  # a variant named on the command line that cannot be loaded is an error, not a part left out
        chosen = {name: lab.variant(name) for name in names}
    else:
        tried = {name: left.attempt(name, partial(lab.variant, name), None) for name in known}
        chosen = {name: variant for name, variant in tried.items() if variant is not None}
    runs_of = left.attempt("other seeds", lab.seed_runs, {})
    seeds = {name: runs for name, runs in runs_of.items() if name in chosen}
    # The listed price of a CPU; a GPU's depends on the seller, so there the user enters it on the page.
    price = PRICES[0] if lab.device == "cpu" else None
    check_folder(lab.path / REPORTS, REPORT)  # before hours of measuring
    check_folder(lab.path / REPORTS / (SOME if names else ""), REPORT)
    store = ScoreStore(lab.path / "runs" / "scores")
    keep = partial(remembered, store, answers_hash(lab))
    embeddings = left.attempt("diversity", lambda: lab.embeddings.cpu().numpy(), None)
    # The whole evaluation looks deeper; one of some variants is for a quick look.
    planned = _planned(lab, chosen, seeds, deep=not names)
    with Bar(planned) as bar:
        report, rows = evaluate(
            chosen,
            lab.catalog,
            lab.split,
            lab=lab.path.name,
            margin=margin,
            seed_runs=seeds,
            price=price,
            embeddings=embeddings,
            meter=energy_meter(lab.torch_device),
            precompute=lambda: left.attempt(
                "break-even", lambda: precompute_of(lab, chosen, bar.step), Precompute(None)
            ),
            growth_sizes=SIZES,
            depth=None if names else lambda: left.attempt(
                "ablations, stale embeddings and uploads", lambda: depth_of(lab, chosen, keep, bar.step), Depth()
            ),
            remember=keep,
            progress=bar.step,
        )
    if entered:
        report["entered"] = at_entered(report, entered)
    # A curve holds NaN where no board has a strict validation save; JSON knows only null.
    command = f"python -m pinlab evaluate {lab.path}" + (f" --variants {','.join(names)}" if names else "")
    command += f" --margin {margin}" if margin != MARGIN else ""
    command += f" --prices {prices.name}" if prices else ""  # its folder is nobody's business
    made = {"command": command, "date": datetime.now(UTC).date().isoformat()}
    extra: dict[str, Any] = {"provenance": lab.provenance() | made}
    extra["training"] = left.attempt("training", lambda: training_table(lab), {})
    extra["rates_tried"] = left.attempt("learning rates tried", lambda: rates_tried(lab), None)
    extra |= {"left_out": dict(left)} if left else {}
    report = plain(report | extra)
    pictures = {pin: lab.catalog.image_bytes(pin) for pin in pins_shown(report)}
    folder = lab.path / REPORTS / (SOME if names else "")
    write_report(report, rows, folder, pictures=pictures)
    if names:
        _say(f"written to {folder}; the report of all variants is left as it is")
    else:
        store.prune()  # a run of some variants would delete what the others' scores are kept for
    return report


class LeftOut(dict[str, str]):
    """Parts of an evaluation that cannot run -> why; the rest goes on without them."""

    def attempt(self, part: str, make: Callable[[], Made], otherwise: Made) -> Made:
        """What `make` gives, or `otherwise` and a line that says why not."""
        try:
            return make()
        except PinLabError as error:
            self[part] = str(error)
            _say(f"{part} is left out: {error}")
            return otherwise


def precompute_of(lab: Lab, chosen: Mapping[str, Variant], progress: Progress = say_nothing) -> Precompute:
    """What the offline work behind `swapped` and `cached` takes, measured on pins of the lab, as far as it has them.

    Called when the variants have answered: `cached` fills its store then, which its cold answer is to show.
    """
    sizes: dict[str, int] = {}
    if "swapped" in chosen:
        sizes["swapped"] = row_bytes(read_table(lab.path / "embeddings" / "pins.safetensors"))
    for name, variant in chosen.items():
        if isinstance(variant, CachedVariant):
            sizes[name] = features_bytes(variant.features)
    if "swapped" not in chosen or not {"pin-encoder", "full"} <= set(lab.trained()):
        return Precompute(None, sizes)
    folder = lab.path / "models" / "pin-encoder"
    encoder, tuned = load_encoder(folder, tower_folder(lab.path / "models"), lab.weights)
    worker = PinWorker(tuned, PromptBuilder(load_tokenizer(folder)), encoder, lab.side, lab.torch_device)
    drawn = np.random.default_rng(0).permutation(len(lab.catalog))[: BATCH * BATCHES]
    pins = [lab.catalog.pins[row] for row in drawn]
    progress(f"cost: embedding {len(pins)} pins")
    measured = measure_precompute(worker, [(lab.catalog.image_bytes(p.id), p.text) for p in pins])
    progress(f"cost: {len(pins)} pins embedded", _precompute_work(lab))
    return Precompute(measured, sizes)


def training_table(lab: Lab) -> dict[str, dict]:
    """Per model folder: plan, steps, wall-clock, best validation, plateau, curve (the fair-rivals evidence)."""
    return {name: read_record(lab.path / "models" / name / "training.json") for name in lab.trained()}


def depth_of(
    lab: Lab, variants: Mapping[str, Variant], keep: Keep, progress: Progress = say_nothing
) -> Depth:
    """Everything a full evaluation looks into that this lab's models allow; `keep` stores what ablations score."""
    progress("ablations: embedding and describing all pins anew")
    cold = np.array([pin.id in lab.split.cold for pin in lab.catalog.pins])
    floor = TfIdf(lab.catalog, (~cold).tolist())
    what = f"{WORD_FLOOR}: titles and descriptions alone, no model and no picture"
    ablations = [Ablation(floor, "swapped", what, also=("full",))]
    stale: dict[str, Any] = {}
    if "full" in variants:
        ablations += full_ablations(cast(FullVariant, variants["full"]))
    embeds = _embeds(lab)
    if "swapped" in variants:
        swapped = cast(SwappedVariant, variants["swapped"])
        ablations += swapped_ablations(swapped, _tables_with_parts_missing(lab) if embeds else {})
        stale = stale_variants(swapped)
    ablations += title_ablations([variants[name] for name in ("full", "swapped") if name in variants])
    ablations = [replace(a, variant=keep(a.what, a.variant)) for a in ablations]
    stale = {share: keep(f"stale {share}", variant) for share, variant in stale.items()}
    progress("ablations: all pins described anew", _anew_work(lab, variants))
    return Depth(ablations, stale, {name: variants[name] for name in _takers(lab, variants)}, UPLOAD_PINS)


def _embeds(lab: Lab) -> bool:
    """The pin encoder stands on the tower that is stored with `full`: without it nothing is embedded anew."""
    return {"pin-encoder", "full"} <= set(lab.trained())


def _takers(lab: Lab, variants: Mapping[str, Variant]) -> list[str]:
    return [name for name in (TAKE_UPLOADS if _embeds(lab) else ("base",)) if name in variants]


def _planned(lab: Lab, chosen: Mapping[str, Variant], seeds: Mapping[str, Sequence[Variant]], deep: bool) -> float:
    """The work that the parts of an evaluation will tell of, in the unit of `pinlab.measure.progress`."""
    boards = len(lab.split.scored)
    work = planned_work(chosen, lab.split, seeds, SIZES)
    work += _precompute_work(lab) * ("swapped" in chosen and _embeds(lab))
    if not deep:
        return work
    scored = FLOOR[0]  # TF-IDF; then pixels and words of full, parts and stale shares of swapped, and titles
    scored += (2 + 1) * FULL[0] * ("full" in chosen)
    scored += (PARTS * _embeds(lab) + len(STALE_SHARES) + 1) * SWAPPED[0] * ("swapped" in chosen)
    uploads = len(_takers(lab, chosen)) * len(CHANGES) * min(UPLOAD_PINS, len(lab.catalog)) * PICTURE_MS
    return work + boards * scored + uploads + _anew_work(lab, chosen)


def _anew_work(lab: Lab, variants: Mapping[str, Variant]) -> float:
    """Of describing all pins anew: by `full` without a part, and by `swapped` from embeddings without a part."""
    per_pin = (TOWER_MS + 2 * ITEM_MS) * ("full" in variants)
    per_pin += (TOWER_MS + EMBED_MS + PARTS * ITEM_MS / 4) * ("swapped" in variants and _embeds(lab))
    return len(lab.catalog) * per_pin


def _precompute_work(lab: Lab) -> float:
    return (min(BATCH * BATCHES, len(lab.catalog)) + BATCH) * EMBED_MS + ALONE * PICTURE_MS


def remembered(store: ScoreStore, key: str, name: str, variant: Scorer) -> Remembered:
    """A variant whose batched scores are kept in a store, under its name and everything that they depend on."""
    return Remembered(variant, f"{name} {key}", store)


def rates_tried(lab: Lab) -> dict[str, list[dict]] | None:
    """models/rates.json, when it is of these data and these weights."""
    path = lab.path / "models" / "rates.json"
    if not path.is_file():
        return None
    record = read_record(path)
    full = read_record(lab.path / "models" / "full" / "training.json")
    same = all(record.get(key) == full.get(key) for key in ("data_hash", "parents"))
    return record.get("tried") if same else None


@torch.inference_mode()
def _tables_with_parts_missing(lab: Lab) -> dict[str, tuple[torch.Tensor, str]]:
    folder = lab.path / "models" / "pin-encoder"
    encoder, tuned = load_encoder(folder, tower_folder(lab.path / "models"), lab.weights)
    texts = [pin.text for pin in lab.catalog.pins]
    features = tower_outputs(tuned, catalog_images(lab.catalog, lab.side))
    content = pin_content(tuned, PromptBuilder(load_tokenizer(folder)), features, texts)
    device = lab.torch_device
    return {
        "image only": (embed_pictures(encoder, content).to(device), "swapped, image only: no text and no saves"),
        "text only": (embed_words(encoder, content).to(device), "swapped, text only: no picture and no saves"),
        "no graph": (embed_unsaved(encoder, content).to(device), "swapped, no graph: picture and text, but no saves"),
    }


def answers_hash(lab: Lab) -> str:
    """Hash of all that a score depends on: catalog, split, weights, embeddings, device and the code that computes."""
    stored = sorted((lab.path / "embeddings").glob("[!.]*.safetensors"))
    known = lab.provenance()
    parts = [known[name] for name in ("catalog", "weights", "device", "dtype", "threads", "versions")]
    parts += [(lab.path / "catalog" / "split.json").read_text(encoding="utf-8"), _code_hash()]
    parts += [[path.name, hashlib.sha256(path.read_bytes()).hexdigest()] for path in stored]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@lru_cache(maxsize=1)
def _code_hash() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _say(line: str) -> None:
    print(line, file=sys.stderr)
