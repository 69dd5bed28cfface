"""The training loop: seeded, resumable, honest about what it kept; on the 40-pin toy lab and on hand-made tasks."""

from __future__ import annotations

import dataclasses
import inspect
import json
import shutil
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
import toy
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pinlab.catalog.split import write_split
from pinlab.lab import open_lab
from pinlab.models import recipe
from pinlab.models.backbone import VECTOR, Projector
from pinlab.models.checkpoint import load_encoder
from pinlab.models.data import FOLDS, MODES, draw_batch
from pinlab.models.images import VIEWS, picture_views
from pinlab.models.inputs import EmbeddingTables, Shown, StoredEmbeddings
from pinlab.models.pin_encoder import EMBEDDING
from pinlab.models.tasks import UNSAVED, VIEWED, BaseTask, SavesTask, autocast, training_dtype, validation_recall
from pinlab.models.training import Outcome, Plan, Task, is_flat, state_hash, train
from pinlab.records import PinLabError
from pinlab.steps import Workshop, build_from


def quiet(line: str) -> None:
    """A log that says nothing."""


class Line:
    """Fits a line; validation follows a script."""

    def __init__(self, scores: list[float] | None = None, seed: int = 0, bad_step: int = -1) -> None:
        torch.manual_seed(seed)
        self.model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
        self.scores, self.bad_step, self.seen = scores, bad_step, []

    def loss(self, step: int) -> Tensor:
        x = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
        loss = (self.model(x) - x.sum(1, keepdim=True)).square().mean()
        return loss * float("nan") if step == self.bad_step else loss

    def validate(self) -> dict[str, float]:
        assert not self.model.training
        self.seen.append({k: v.clone() for k, v in self.model.state_dict().items()})
        return {"score": self.scores[len(self.seen) - 1] if self.scores else float(len(self.seen))}


class KilledError(Exception):
    """Stands for a killed process."""


class StopsAt:
    """A task that dies at a step."""

    def __init__(self, task: Task, step: int) -> None:
        self.task, self.step, self.model = task, step, task.model

    def loss(self, step: int) -> Tensor:
        if step == self.step:
            raise KilledError
        return self.task.loss(step)

    def validate(self) -> dict[str, float]:
        return self.task.validate()


PLAN = toy.plan(6)
STAGES = ("base", "tuned", "pin-encoder", "swapped", "full")


def run(task: Task, folder: Path, plan: Plan = PLAN) -> Outcome:
    return train(task, plan, folder, "toy", quiet)


def models(lab: Path) -> dict[str, Tensor]:
    """All trained tensors of a lab by file and name: models, and the runs' checkpoints."""
    files = [p for kind in ("models", "runs") for p in sorted((lab / kind).rglob("*.safetensors"))]
    return {f"{p.relative_to(lab)}/{name}": tensor for p in files for name, tensor in load_file(p).items()}


@pytest.fixture(scope="module")
def reference() -> dict[str, Tensor]:
    return models(toy.trained_folder())


ADAPTED = ("pooled", "pooled-4", "shallow-tower", "shallow")  # adapters on full, in the order of the recipe


def test_the_whole_recipe_gives_the_same_weights_again(reference: dict[str, Tensor], tmp_path: Path) -> None:
    toy.build(tmp_path / "lab")
    toy.train(tmp_path / "lab", full_seeds=(0,), swapped_seeds=(0,))
    again = models(tmp_path / "lab")
    assert {name.split("/")[1] for name in again} == {*STAGES, *ADAPTED}  # under models/ or runs/
    assert toy.same_weights(again, {name: reference[name] for name in again})


def test_another_seed_gives_other_weights(reference: dict[str, Tensor]) -> None:
    for stage in ("full", "swapped"):
        mine = {n: t for n, t in reference.items() if n.startswith(f"models/{stage}/") and "language_model" in n}
        other = {n: reference[n.replace(f"/{stage}/", f"/{stage}-seed1/")] for n in mine}
        assert len(mine) > 20
        assert sum(not torch.equal(mine[n], other[n]) for n in mine) > len(mine) / 2


def test_every_stage_moves_its_weights_and_only_its_own(reference: dict[str, Tensor]) -> None:
    def part(model: str, name: str) -> dict[str, Tensor]:
        found = {n: t for n, t in reference.items() if n.startswith(f"models/{model}/") and name in n}
        assert found
        return {n.removeprefix(f"models/{model}/model.safetensors/"): t for n, t in found.items()}

    full, base = (part(model, "visual") for model in ("full", "base"))
    assert not toy.same_weights(full, base)
    # `full` trains on stored outputs of the tower that the pin encoder stands on, and that tower is stored with it.
    load_encoder(*(toy.trained_folder() / "models" / name for name in ("pin-encoder", "full")))
    words = [part(model, "language_model") for model in ("base", "pin-encoder", "full", "swapped")]
    for i, left in enumerate(words):
        assert not any(toy.same_weights(left, right) for right in words[:i])
    without = ("models/swapped", "models/pin-encoder", "models/full-seed1")
    assert not any("visual" in name for name in reference if name.startswith(without))


def test_a_recipe_killed_in_every_stage_ends_as_if_it_had_not_been(
    reference: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = tmp_path / "lab"
    toy.build(lab)
    loop, killed = recipe.train, []

    def deadly(task: Task, plan: Plan, folder: Path, label: str) -> Outcome:
        if folder.name in killed:
            return loop(task, plan, folder, label, quiet)
        killed.append(folder.name)
        return loop(StopsAt(task, 3), plan, folder, label, quiet)

    monkeypatch.setattr(recipe, "train", deadly)
    for stage in (*STAGES, *ADAPTED):
        with pytest.raises(KilledError):
            toy.train(lab, full_seeds=(0,), swapped_seeds=(0,))
        assert killed[-1] == stage
        assert json.loads((lab / "runs" / stage / "last.json").read_text())["step"] == 2
        assert not (lab / "runs" / stage / "done.json").exists()
        assert not (lab / "models" / stage).exists()
    toy.train(lab, full_seeds=(0,), swapped_seeds=(0,))
    ended = models(lab)
    assert toy.same_weights(ended, {name: reference[name] for name in ended})
    for stage in (*STAGES, *ADAPTED):
        paths = [folder / "runs" / stage / "done.json" for folder in (lab, toy.trained_folder())]
        mine, expected = (json.loads(path.read_text()) for path in paths)
        scores = [[{k: v for k, v in p.items() if k != "loss"} for p in done["curve"]] for done in (mine, expected)]
        np.testing.assert_equal(*scores)
        assert mine["best_step"] == expected["best_step"]


def test_checkpoints_that_saw_another_split_are_not_taken_up(tmp_path: Path) -> None:
    lab = toy.copy_lab(tmp_path)
    kept = models(lab)
    write_split(toy.split(toy.catalog(), toy.SEED + 1), lab / "catalog" / "split.json")
    with pytest.raises(PinLabError, match="runs: holds runs on other data; delete the folder"):
        toy.train(lab)
    assert toy.same_weights(models(lab), kept)
    shutil.rmtree(lab / "runs")
    toy.train(lab, full_seeds=(0,), swapped_seeds=())  # the tower is stored with `full`
    for name, tensor in models(lab).items():
        if name.startswith("models/pin-encoder/head.safetensors/"):
            assert not torch.equal(tensor, kept[name])


def test_the_rivals_have_plans_that_resume_exactly_and_as_many_negatives() -> None:
    """The memory bank is made anew on resuming, so every checkpoint must fall on one of its refreshes."""
    refresh_every = inspect.signature(SavesTask).parameters["refresh_every"].default
    for plan in (recipe.FULL_PLAN, recipe.SWAPPED_PLAN):
        assert plan.validate_every % refresh_every == 0
    assert recipe.FULL_PLAN.batch == recipe.SWAPPED_PLAN.batch


def test_the_best_weights_are_kept_not_the_last(tmp_path: Path) -> None:
    task = Line([0.1, 0.7, 0.7, 0.2, 0.6])
    outcome = run(task, tmp_path, dataclasses.replace(PLAN, steps=10))
    assert (outcome.best_step, outcome.best["score"], outcome.steps) == (4, 0.7, 10)  # the first of two equals
    assert toy.same_weights(dict(task.model.state_dict()), task.seen[1])
    assert not toy.same_weights(task.seen[1], task.seen[-1])
    done = json.loads((tmp_path / "done.json").read_text())
    assert done["plan"] == dataclasses.asdict(dataclasses.replace(PLAN, steps=10))
    assert [point["step"] for point in done["curve"]] == [2, 4, 6, 8, 10]


def test_a_finished_run_is_read_and_not_run_again(tmp_path: Path) -> None:
    first = Line()
    outcome = run(first, tmp_path)
    again = StopsAt(Line(), 0)
    assert run(again, tmp_path) == outcome
    assert toy.same_weights(dict(again.model.state_dict()), dict(first.model.state_dict()))


def test_the_last_step_is_validated_even_off_the_beat(tmp_path: Path) -> None:
    outcome = run(Line(), tmp_path, dataclasses.replace(PLAN, steps=5))
    assert [point["step"] for point in outcome.curve] == [2, 4, 5]


@pytest.mark.parametrize("change", [{"steps": 8}, {"seed": 1}, {"learning_rate": 1e-3}, {"batch": 7}])
def test_a_run_of_another_plan_is_not_resumed(change: dict, tmp_path: Path) -> None:
    run(Line(), tmp_path / "run")
    with pytest.raises(PinLabError, match=r"run: holds a run of another plan; delete the folder"):
        run(Line(), tmp_path / "run", dataclasses.replace(PLAN, **change))


def test_a_run_that_started_from_other_weights_is_not_resumed(tmp_path: Path) -> None:
    run(Line(), tmp_path / "run")
    with pytest.raises(PinLabError, match=r"run: holds a run that started from other weights; delete the folder"):
        run(Line(seed=9), tmp_path / "run")


def test_the_start_of_a_run_on_a_released_base_is_its_adapter_and_the_bases_hash() -> None:
    def start(base: str | None, rank: int = 4, vision_layer: bool = True) -> str:
        torch.manual_seed(0)
        backbone = toy.backbone(1)
        if not vision_layer:
            backbone.remove_vision_layer()
        recipe.make_trainable(backbone, rank)
        backbone.stands_on = base
        return state_hash(nn.ModuleDict({"backbone": backbone}))

    assert start("a") == start("a", vision_layer=False)
    assert len({start("a"), start("b"), start("a", rank=2), start(None)}) == 4
    assert start(None) != start(None, vision_layer=False)  # a lab's own weights are all in it


def test_a_model_is_stale_when_one_it_came_from_has_changed(tmp_path: Path) -> None:
    lab = toy.copy_lab(tmp_path)
    folder = lab / "models" / "pin-encoder"
    weights = load_file(folder / "head.safetensors")
    weights["fusion.words.weight"] += 1
    save_file(weights, folder / "head.safetensors")
    shutil.rmtree(lab / "runs" / "swapped")
    kept = models(lab)
    toy.train(lab, full_seeds=(), swapped_seeds=(0,))
    ended = models(lab)
    head = [name for name in kept if name.startswith("models/swapped/head") and name.endswith("weight")]
    assert len(head) == 3  # the head and the projector's two layers
    assert not any(torch.equal(ended[name], kept[name]) for name in head)
    assert all(torch.equal(ended[name], kept[name]) for name in kept if name.startswith("models/base/"))


def test_what_a_cpu_computes_in_does_not_change_with_a_gpu_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """`nano` trains on the CPU, and its record says in what."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    cpu = torch.device("cpu")
    for in_hardware, dtype in ((False, "float32"), (True, "bfloat16")):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda found=in_hardware: found)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda found=in_hardware: found)
        assert training_dtype(cpu) == dtype
        with autocast(cpu):
            assert str((torch.ones(2, 2) @ torch.ones(2, 2)).dtype) == f"torch.{dtype}"
    assert training_dtype(torch.device("cuda")) == "bfloat16"


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(PinLabError, match="toy: the loss is nan at step 3; lower the learning rate"):
        run(Line(bad_step=3), tmp_path)
    assert all(v.isfinite().all() for v in load_file(tmp_path / "last.safetensors").values())


def test_learning_rate_warms_up_stays_and_falls() -> None:
    plan = Plan(steps=100, batch=1, learning_rate=1.0)
    rates = [plan.rate(step) for step in range(100)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert set(rates[4:56]) == {1.0}
    assert all(a >= b for a, b in zip(rates[56:], rates[57:], strict=False))
    assert rates[-1] == pytest.approx(0.05)


def test_a_plan_that_settles_ends_at_a_twentieth_of_its_rate() -> None:
    rates = [Plan(steps=100, batch=1, learning_rate=1.0, settle=0.25).rate(step) for step in range(100)]
    assert set(rates[4:31]) == {1.0}
    assert rates[52] == pytest.approx(23 / 45)
    assert set(rates[75:]) == {0.05}
    assert min(rates) == 0.05


def test_a_prolonged_plan_changes_nothing_of_what_was_run() -> None:
    plan = Plan(steps=100, batch=1, learning_rate=1.0, settle=0.25)
    longer = dataclasses.replace(plan, steps=130, extra=30)
    assert [longer.rate(step) for step in range(100)] == [plan.rate(step) for step in range(100)]
    assert {longer.rate(step) for step in range(100, 130)} == {0.05}


@pytest.mark.parametrize(
    ("scores", "flat"),
    [
        ([0.1, 0.2, 0.3, 0.4], False),  # too short to say
        ([0.1, 0.2, 0.3, 0.4, 0.4], True),  # last fifth: only the fifth point
        ([0.1, 0.2, 0.3, 0.4, 0.405], True),  # above by the tolerance
        ([0.1, 0.2, 0.3, 0.4, 0.406], False),
        ([0.1, 0.2, 0.3, 0.4, 0.3], True),  # falling is not rising
        ([0.1, 0.5, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.42, 0.48], True),  # the best of before is not the last of before
        ([0.1, 0.2, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.32, 0.3], False),  # the best of after is not the last
    ],
)
def test_the_plateau_rule_by_hand(scores: list[float], flat: bool) -> None:
    curve = [{"step": 100 * (i + 1), "score": score} for i, score in enumerate(scores)]
    assert is_flat(curve) is flat


# What the tasks draw and block.


@pytest.fixture(scope="module")
def swapped_task(tmp_path_factory: pytest.TempPathFactory) -> SavesTask:
    return toy.task_of("swapped", tmp_path_factory.mktemp("task"))


def test_nothing_known_of_a_board_is_a_negative(swapped_task: SavesTask) -> None:
    data = toy.data()
    for number in range(4 * FOLDS):
        mode, fold = MODES[number % 4], number % FOLDS
        drawn = draw_batch(data, 6, np.random.default_rng(number), fold, mode)
        blocked = swapped_task._blocked(drawn)
        for i, board in enumerate(drawn.boards):
            target = int(drawn.target[i])
            expected = {*board.train.tolist(), *np.flatnonzero(~data.visible).tolist()} - {target}
            if mode != "upload":
                expected |= set(drawn.query[i].tolist())
            assert set(torch.nonzero(blocked[i]).flatten().tolist()) == expected


def test_the_bank_is_made_without_the_fold_that_is_asked_about(swapped_task: SavesTask) -> None:
    swapped_task.model.train()
    swapped_task.loss(0)
    hidden = swapped_task.item_vectors(0)
    changed = {row for row in range(toy.PINS) if not torch.equal(swapped_task.bank[row], hidden[row])}
    assert len(changed) <= swapped_task.batch  # only the batch's own targets were refreshed
    assert not torch.equal(hidden, swapped_task.item_vectors(1))


def test_a_step_is_the_same_whatever_came_before(swapped_task: SavesTask) -> None:
    def loss() -> Tensor:
        swapped_task.model.train()
        swapped_task.bank = None
        return swapped_task.loss(4).detach()

    first = loss()
    swapped_task.loss(1)
    torch.manual_seed(99)
    assert torch.equal(loss(), first)


def test_what_is_shown_of_pins_is_drawn_within_bounds(swapped_task: SavesTask) -> None:
    rows = np.arange(5000)
    shown = swapped_task._draw_shown(np.random.default_rng(0), rows, 3)
    assert not shown.upload
    assert shown.fold == 3
    assert set(shown.views) == set(range(VIEWS))
    assert (shown.views > 0).mean() == pytest.approx(VIEWED, abs=0.02)
    assert shown.unsaved.mean() == pytest.approx(UNSAVED, abs=0.02)
    upload = swapped_task._draw_shown(np.random.default_rng(0), rows, 3, upload=True)
    assert upload.upload
    assert set(upload.views) == set(range(1, VIEWS))


@pytest.mark.parametrize(("views", "unsaved"), [([1, 0, 0], [False] * 3), ([0] * 3, [True, False, False])])
def test_the_bank_takes_only_what_was_shown_whole(
    swapped_task: SavesTask, views: list[int], unsaved: list[bool]
) -> None:
    kept = torch.zeros(toy.PINS, VECTOR)
    swapped_task.bank = kept.clone()
    target, fresh = torch.tensor([7, 3, 9]), torch.ones(3, VECTOR)
    swapped_task._refresh_bank(target, fresh, Shown(views=np.array(views), unsaved=np.array(unsaved)))
    changed = (swapped_task.bank != kept).any(1).nonzero().flatten().tolist()
    swapped_task.bank = None
    assert changed == [3, 9]


class Through(nn.Identity):
    """A projector that changes nothing."""

    device = torch.device("cpu")


def test_embeddings_are_shown_as_asked() -> None:
    pins, width = 4, 6
    saved = torch.randn(FOLDS + 1, 2 * pins, width)
    tables = EmbeddingTables(saved, torch.randn(2 * pins, width), torch.randn(2 * pins, width))
    given = StoredEmbeddings(tables, pins, 8)
    given.projector = Through()
    rows, views = np.array([2, 0, 3]), np.array([0, 1, 1])
    assert torch.equal(given.features(rows, Shown()), saved[FOLDS, [2, 0, 3]])
    assert torch.equal(given.features(rows, Shown(fold=1, views=views)), saved[1, [2, 4, 7]])
    assert torch.equal(given.features(rows, Shown(upload=True, views=views)), tables.bare[[2, 4, 7]])
    alone = given.features(rows, Shown(fold=1, views=views, unsaved=np.array([True, False, True])))
    assert torch.equal(alone, torch.stack([tables.unsaved[2], saved[1, 4], tables.unsaved[7]]))


@pytest.mark.parametrize("width", [VECTOR + 16, EMBEDDING])
def test_swapped_starts_as_nearest_but_for_the_text_stack(width: int) -> None:
    backbone = toy.backbone()
    backbone.head = nn.Linear(EMBEDDING, VECTOR, bias=False)
    projector = Projector(width, EMBEDDING)
    recipe.start_as_nearest(backbone, projector, recipe.TOKEN_LENGTH)
    embeddings = nn.functional.normalize(torch.randn(5, width), dim=-1)
    read = backbone.head(projector(embeddings).tokens.squeeze(1)) / recipe.TOKEN_LENGTH
    assert torch.allclose(read, embeddings[:, :VECTOR], atol=1e-5)
    assert backbone.gate.item() == 4.0


def test_one_seed_draws_one_batch() -> None:
    one, again = (draw_batch(toy.data(), 5, np.random.default_rng([3, 8]), 2) for _ in range(2))
    assert one.mode == again.mode
    assert np.array_equal(one.query, again.query)
    assert np.array_equal(one.target, again.target)


def test_validation_recall_against_a_loop() -> None:
    data = toy.data()
    scores = torch.randn(len(data.validated), toy.PINS, generator=torch.Generator().manual_seed(0))
    kept = scores.clone()
    for k in (1, 3, 10):
        total, strict = [], []
        for row, board in zip(scores.tolist(), data.validated, strict=True):
            order = sorted((i for i in range(toy.PINS) if i not in board.train), key=lambda i: -row[i])[:k]
            for into, wanted in ((total, board.validation), (strict, board.validation_strict)):
                if len(wanted):
                    into.append(len(set(order) & set(wanted.tolist())) / min(k, len(wanted)))
        found = validation_recall(scores, data.validated, k)
        assert found == pytest.approx({"score": np.mean(total), "strict": np.mean(strict)})
    assert torch.equal(scores, kept)


def test_views_are_the_pictures_re_encoded_and_the_same_each_time() -> None:
    images = toy.images()
    views = picture_views(toy.catalog(), images)
    assert torch.equal(views, picture_views(toy.catalog(), images))
    parts = views.view(VIEWS, *images.shape)
    assert torch.equal(parts[0], images)
    for number in range(1, VIEWS):
        moved = (parts[number].float() - images.float()).abs().mean((1, 2, 3))
        assert (moved > 0).all()
        other = (parts[number].float() - images.roll(1, 0).float()).abs().mean((1, 2, 3))
        assert (moved < other).float().mean() > 0.9  # still the same pictures
        assert not torch.equal(parts[number], parts[number - 1])


def test_base_trains_on_a_small_catalog() -> None:
    task = BaseTask(toy.backbone(0).requires_grad_(True), toy.builder(), toy.data(), toy.images(), 6, 0)
    assert torch.isfinite(task.loss(0))


def test_small_boards_can_be_drawn_from() -> None:
    data = toy.data()
    small = dataclasses.replace(data, boards=tuple(b for b in data.boards if len(b.train) <= 7))
    for number in range(50):
        draw_batch(small, 4, np.random.default_rng(number), number % FOLDS)


def test_a_fold_without_saves_is_passed_over() -> None:
    data = toy.data()
    board = dataclasses.replace(data.boards[0], train=np.array([1, 2, 3]), fold=np.array([0, 0, 1]))
    small = dataclasses.replace(data, boards=(board,))
    assert small.folds == (0, 1)
    for fold in small.folds:
        assert len(draw_batch(small, 4, np.random.default_rng(0), fold, "pins").target) == 4


def test_both_rivals_try_the_same_rates_from_the_same_weights(tmp_path: Path) -> None:
    lab = toy.copy_lab(tmp_path)
    with toy.tiny_recipe(), mock.patch.object(recipe, "RATE_STEPS", 4):
        Workshop(open_lab(lab, "cpu")).try_rates()
    tried = json.loads((lab / "models" / "rates.json").read_text())["tried"]
    for name in ("full", "swapped"):
        assert [entry["rate"] for entry in tried[name]] == list(recipe.RATES)
        assert {entry["steps"] for entry in tried[name]} == {4}
        done = [json.loads((lab / "runs" / f"{name}-rate-{r:g}" / "done.json").read_text()) for r in recipe.RATES]
        assert len({run["start"] for run in done}) == 1
        assert [run["plan"]["learning_rate"] for run in done] == list(recipe.RATES)
        assert [entry["validation"] for entry in tried[name]] == [run["best"]["score"] for run in done]


def small_folder(folder: Path, titled: bool) -> Path:
    """Three boards of seven pictures; with titles, or a subfolder each and no words at all."""
    rows = ["file_name,title,boards"]
    for number in range(21):
        name = f"Board {number // 7}"
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / f"{number}.png").write_bytes(toy.png(toy.drawing(number)))
        rows.append(f"{name}/{number}.png,a drawing of {number},{name}")
    if titled:
        (folder / "metadata.csv").write_text("\n".join(rows) + "\n")
    return folder


def test_a_small_folder_of_pictures_becomes_a_lab_that_answers(tmp_path: Path) -> None:
    build_from(small_folder(tmp_path / "mine", titled=True), tmp_path / "lab")
    toy.train(tmp_path / "lab", full_seeds=(0,), swapped_seeds=(0,))
    lab = open_lab(tmp_path / "lab", "cpu")
    for info in lab.variants():
        assert lab.answer(info.name, lab.board_query(lab.split.scored[0]), 5).hits


def test_pictures_without_any_words_cannot_train_base_and_it_says_so(tmp_path: Path) -> None:
    build_from(small_folder(tmp_path / "mine", titled=False), tmp_path / "lab")
    with pytest.raises(PinLabError, match="0 of 21 pins have a title or description, and base learns from at least 10"):
        toy.train(tmp_path / "lab")
