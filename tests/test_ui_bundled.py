"""The bundled lab: one and the same answer from page, endpoint and command line; models that the recipe made."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pinlab.lab import open_lab
from pinlab.ui import api, cards, compare, state
from pinlab.ui.answers import one_at_a_time
from pinlab.ui.cards import Deck
from pinlab.ui.opening import first_board
from tests.browser import site

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(not site.bundled_is_whole(), reason="the bundled lab has no models here")


@pytest.fixture(scope="module")
def deck() -> Deck:
    return Deck(one_at_a_time(open_lab(site.BUNDLED)))


def command_line(variant: str, board: str, words: str) -> dict:
    done = subprocess.run(
        [sys.executable, "-m", "pinlab", "recommend", str(site.BUNDLED), "--variant", variant, "--board", board,
         "--text", words, "--json"],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=150,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(("variant", "words"), [("full", ""), ("swapped", "with a candle")])
def test_page_endpoint_and_command_line_agree(deck: Deck, variant: str, words: str) -> None:
    board = first_board(deck.lab)
    told = command_line(variant, board, words)
    given = api.recommend(deck.lab, variant, board, words, None, 10)
    assert given["hits"] == told["hits"]
    for name in ("gflops", "tokens", "images_encoded"):
        assert given["cost"][name] == told["cost"][name]
    question = {"text": words, "files": []}
    price = cards.price_view(0, None)
    view = compare.recommend(deck, board, question, variant, "cosave", price, state.new_visit())
    shown = [(card["pin"], card["score"], card["rank"], card["held"]) for card in view.left["hits"]]
    assert shown == [(h["pin"], f"{h['score']:.3f}", h["rank"], h["held_out"]) for h in told["hits"]]


def test_every_variant_answers_the_first_board(deck: Deck) -> None:
    board = first_board(deck.lab)
    for variant in deck.variants:
        assert len(api.recommend(deck.lab, variant, board, "", None, 10)["hits"]) == 10


def test_the_shipped_models_are_what_the_recipe_makes(capsys: pytest.CaptureFixture[str]) -> None:
    """`python -m pinlab train` finds nothing to do, and the plans are those that were trained."""
    from pinlab.assessment import training_table
    from pinlab.models import recipe
    from pinlab.models.training import Plan
    from pinlab.steps import FULL_SEEDS, SWAPPED_SEEDS, Workshop

    lab = open_lab(site.BUNDLED)
    seeds = {"full": FULL_SEEDS, "swapped": SWAPPED_SEEDS}
    models = {f"{name}-seed{seed}" if seed else name for name, some in seeds.items() for seed in some}
    assert set(lab.trained()) == models | {"base", "pin-encoder", "pooled", "shallow"}  # pooled-4: LOG.md

    def train() -> None:
        pytest.fail("a shipped model is stale")

    for name in lab.trained():
        Workshop(lab)._once(name, train)
        assert f"{name}: trained already" in capsys.readouterr().err
    plans = {"base": recipe.BASE_PLAN, "pin-encoder": recipe.ENCODER_PLAN}
    plans |= {"full": recipe.FULL_PLAN, "swapped": recipe.SWAPPED_PLAN}
    plans |= {"pooled": recipe.POOLED_PLAN, "shallow": recipe.SHALLOW_PLAN}
    for name, made in training_table(lab).items():
        variant, _, seed = name.partition("-seed")
        assert Plan(**made["plan"]) == recipe.with_seed(plans[variant], int(seed or 0)), name
        assert made.get("tuned", {"steps": recipe.TUNED_PLAN.steps})["steps"] == recipe.TUNED_PLAN.steps, name
