"""Released checkpoints: what is whole is read as transformers reads it, what is wrong is named before it is read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import toy
from checkpoints import write_checkpoint
from huggingface_hub.errors import LocalEntryNotFoundError, NotASafetensorsRepoError, RepositoryNotFoundError
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import Qwen3VLForConditionalGeneration

from pinlab.models import released
from pinlab.models.checkpoint import Weights, from_released
from pinlab.models.prompt import PinPart, PromptBuilder
from pinlab.models.vision import normalise, patchify, run_tower_batched
from pinlab.records import PinLabError

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("hub") / "tiny", tied=False)


@pytest.fixture
def broken(checkpoint: Path, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(checkpoint, tmp_path / "tiny"))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("deepstack", [(0, 2), (0, 1, 3)])
def test_it_computes_what_transformers_computes(tied: bool, deepstack: tuple[int, ...], tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "tiny", tied=tied, deepstack=deepstack)
    contents = released.look_into(folder)
    ours = from_released(contents, Weights())
    theirs = Qwen3VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    builder, pixels = PromptBuilder(released.load_tokenizer(folder)), normalise(toy.images()[:2])
    batch = builder.build([([PinPart((3, 3), True)] * 2, builder.text("cats"))])
    with torch.inference_mode():
        expected = theirs.model(
            input_ids=batch.ids,
            position_ids=batch.positions,
            pixel_values=patchify(pixels).flatten(0, 1),
            image_grid_thw=torch.tensor([[1, 6, 6]] * 2),
            mm_token_type_ids=(batch.ids == builder.image).int(),
            use_cache=False,
        ).last_hidden_state
        found = ours.hidden(batch, run_tower_batched(ours.qwen.visual, pixels))
    assert found == pytest.approx(expected, abs=1e-5)
    assert contents.dtype == torch.bfloat16
    parameters = {"vision layer": theirs.model.visual, "text stack": theirs.model.language_model}
    assert contents.parameters == {n: sum(p.numel() for p in m.parameters()) for n, m in parameters.items()}
    assert contents.bytes_ == {name: 2 * count for name, count in contents.parameters.items()}


def test_bfloat16_computes_too(checkpoint: Path) -> None:
    """As on a GPU: the tower, the seam and the head take weights of that type."""
    contents, builder = released.look_into(checkpoint), toy.builder()
    exact, short = (from_released(contents, Weights(CPU, dtype=dtype)) for dtype in (torch.float32, torch.bfloat16))
    short.head.weight.data = exact.head.weight.data.clone()
    batch, pixels = builder.build([([PinPart((3, 3), True)], ())]), normalise(toy.images()[:1])
    with torch.inference_mode():
        expected = exact(batch, run_tower_batched(exact.qwen.visual, pixels))
        features = run_tower_batched(short.qwen.visual, pixels)
        found = short(batch, features)
    assert features.tokens.dtype == torch.bfloat16
    assert found.dtype == torch.float32
    assert float((found * expected).sum()) > 0.99


def test_pictures_are_shown_at_the_preprocessors_smallest_size(checkpoint: Path, tmp_path: Path) -> None:
    assert released.look_into(checkpoint).side == 96
    assert released.look_into(write_checkpoint(tmp_path / "a", pixels=65_536)).side == 256
    assert released.look_into(write_checkpoint(tmp_path / "b", pixels=70_000)).side == 256  # multiples of 32
    assert released.look_into(write_checkpoint(tmp_path / "c", pixels=100)).side == 32


def test_models_on_one_checkpoint_hold_it_once_and_let_it_go(checkpoint: Path) -> None:
    weights, contents = Weights(), released.look_into(checkpoint)
    first, second = from_released(contents, weights), from_released(contents, weights)
    pairs = zip(first.qwen.parameters(), second.qwen.parameters(), strict=True)
    assert all(a.data_ptr() == b.data_ptr() for a, b in pairs)
    del first, second
    assert not len(weights._parts)


def test_of_the_tower_not_a_byte_is_read_for_a_model_without_one(checkpoint: Path, monkeypatch) -> None:
    tower = {path for name, path in released.shard_of(checkpoint).items() if name.startswith("visual.")}
    text = {path for name, path in released.shard_of(checkpoint).items() if not name.startswith("visual.")}
    real, read = released._opened, []

    def opened(path: Path):
        file = real(path)

        class Spy:
            def __enter__(self):
                self.file = file.__enter__()
                return self

            def __exit__(self, *given):
                return file.__exit__(*given)

            def keys(self):
                return self.file.keys()

            def get_tensor(self, name: str):
                read.append((path, name))
                return self.file.get_tensor(name)

        return Spy()

    monkeypatch.setattr(released, "_opened", opened)
    released.read_part(checkpoint, released.TEXT, lambda name: CPU, None)
    assert {path for path, _ in read} <= text
    assert tower - text
    assert not any("visual" in name for _, name in read)


def config_of(change: Callable[[dict], None]) -> Callable[[Path], str]:
    def breaks(folder: Path) -> str:
        record = json.loads((folder / "config.json").read_text())
        change(record)
        (folder / "config.json").write_text(json.dumps(record))
        return str(folder)

    return breaks


def missing(name: str) -> Callable[[Path], str]:
    def breaks(folder: Path) -> str:
        (folder / name).unlink()
        return name

    return breaks


def other_model(folder: Path) -> str:
    config_of(lambda record: record.update(model_type="qwen2_5_vl"))(folder)
    return "qwen2_5_vl"


def missing_shard(folder: Path) -> str:
    path = sorted(folder.glob("model-*.safetensors"))[3]
    path.unlink()
    return path.name


def cut_shard(folder: Path) -> str:
    path = sorted(folder.glob("model-*.safetensors"))[3]
    path.write_bytes(path.read_bytes()[:-7])
    return path.name


def pickles_only(folder: Path) -> str:
    for path in folder.glob("model*"):
        path.unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04N.")
    return "pytorch_model.bin"


def strange_shard(folder: Path) -> str:
    path = folder / released.INDEX
    record = json.loads(path.read_text())
    record["weight_map"]["lm_head.weight"] = "../elsewhere.safetensors"
    path.write_text(json.dumps(record))
    return released.INDEX


def wrong_width(folder: Path) -> str:
    name, path = next((n, p) for n, p in released.shard_of(folder).items() if n.endswith("embed_tokens.weight"))
    weights = load_file(path)
    stored = f"model.{name}"
    weights[stored] = weights[stored][:, :32].contiguous()
    save_file(weights, path)
    return path.name


def quantised(folder: Path) -> str:
    for path in folder.glob("model-*.safetensors"):
        save_file({name: value.to(torch.int8) for name, value in load_file(path).items()}, path)
    return "I8"


def tokenizer_without_images(folder: Path) -> str:
    path = folder / "tokenizer.json"
    path.write_text(path.read_text().replace("<|image_pad|>", "<|picture|>"))
    return "<|image_pad|>"


def tokenizer_of_another(folder: Path) -> str:
    config_of(lambda record: record.update(image_token_id=6, video_token_id=5))(folder)
    return "image_token_id"


def other_preprocessing(folder: Path) -> str:
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"image_mean": [0.48, 0.46, 0.41]}))
    return path.name


def preprocessor_of(pixels: object) -> Callable[[Path], str]:
    def breaks(folder: Path) -> str:
        path = folder / "preprocessor_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"size": {"shortest_edge": pixels}}))
        return f"{path.name} is no image preprocessor of a Qwen3-VL (size.shortest_edge is {pixels!r}"

    return breaks


def as_part(folder: Path, **others: object) -> None:
    """The preprocessor's file as transformers 5 saves it: a part of processor_config.json."""
    path = folder / "preprocessor_config.json"
    parts = {"image_processor": json.loads(path.read_text()), "processor_class": "Qwen3VLProcessor"}
    (folder / "processor_config.json").write_text(json.dumps(parts | others))
    path.unlink()


def test_the_preprocessor_may_be_a_part_of_processor_config(broken: Path) -> None:
    side = released.look_into(broken).side
    as_part(broken, video_processor={"video_processor_type": "Qwen3VLVideoProcessor"})
    assert released.look_into(broken).side == released.side_of(broken) == side


def test_the_part_is_read_before_the_file_of_its_own(broken: Path) -> None:
    old = (broken / "preprocessor_config.json").read_text()
    as_part(broken)
    (broken / "preprocessor_config.json").write_text("{}")  # transformers, too, reads the part first
    assert released.look_into(broken).side > 0
    (broken / "processor_config.json").write_text('{"processor_class": "Qwen3VLProcessor"}')
    (broken / "preprocessor_config.json").write_text(old)
    assert released.look_into(broken).side > 0


def test_a_broken_processor_config_names_itself(broken: Path) -> None:
    as_part(broken, image_processor=[1])
    with pytest.raises(PinLabError, match="config.json is no image preprocessor"):
        released.look_into(broken)


WRONG = {
    "no config": missing("config.json"),
    "another model": other_model,
    "broken config": lambda folder: (folder / "config.json").write_text("{") and "config.json",
    "no tokenizer": missing("tokenizer.json"),
    "no preprocessor": missing("preprocessor_config.json"),
    "other preprocessing": other_preprocessing,
    "missing shard": missing_shard,
    "cut shard": cut_shard,
    "pickles only": pickles_only,
    "a shard elsewhere": strange_shard,
    "wrong width": wrong_width,
    "more layers than weights": config_of(lambda r: r["text_config"].update(num_hidden_layers=4)),
    "fewer layers than weights": config_of(lambda r: r["text_config"].update(num_hidden_layers=2)),
    "pixels in words": preprocessor_of("abc"),
    "pixels below nothing": preprocessor_of(-5),
    "no pixels": preprocessor_of(None),
    "a field of another type": config_of(lambda r: r["text_config"].update(num_hidden_layers="abc")),
    "a negative width": config_of(lambda r: r["text_config"].update(hidden_size=-5)),
    "no heads": config_of(lambda r: r["vision_config"].update(num_heads=0)),
    "heads that share no width": config_of(lambda r: r["vision_config"].update(num_heads=5)),
    "unknown rope": config_of(lambda r: r["text_config"]["rope_parameters"].update(rope_type="bogus")),
    "rope of another width": config_of(lambda r: r["text_config"]["rope_parameters"].update(mrope_section=[1, 2])),
    "rope of nothing": config_of(lambda r: r["vision_config"]["rope_parameters"].update(rope_theta=0)),
    "DeepStack beyond the tower": config_of(lambda r: r["vision_config"].update(deepstack_visual_indexes=[0, 99])),
    "quantised": quantised,
    "tokenizer without images": tokenizer_without_images,
    "tokenizer of another": tokenizer_of_another,
}


@pytest.mark.parametrize("breaks", WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_named_before_a_weight_is_read(breaks, broken: Path, monkeypatch) -> None:
    named = breaks(broken)
    monkeypatch.setattr(released, "read_part", None)  # reading would fail another way
    with pytest.raises(PinLabError) as caught:
        released.look_into(broken)
    message = str(caught.value)
    assert named in message
    assert str(broken) in message
    assert "\n" not in message


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_named(value: float, broken: Path) -> None:
    path = sorted(broken.glob("model-*.safetensors"))[0]
    weights = load_file(path)
    name = next(iter(weights))
    weights[name].view(-1)[3] = value
    save_file(weights, path)
    with pytest.raises(PinLabError, match=path.name) as caught:
        from_released(released.look_into(broken), Weights())
    assert name.removeprefix("model.") in str(caught.value)


def test_a_folder_is_itself_and_a_hub_id_is_one_commit_of_it(checkpoint: Path, monkeypatch) -> None:
    assert released.find(str(checkpoint)) == released.Source(checkpoint.resolve())
    asked = {}

    class Info:
        sha = "a" * 40

    def info(self, name: str, revision: str | None = None) -> Info:
        asked["revision"] = revision
        return Info()

    def download(name: str, **given) -> str:
        asked.update(given, name=name)
        return str(checkpoint)

    monkeypatch.setattr(released.HfApi, "model_info", info)
    monkeypatch.setattr(released, "snapshot_download", download)
    found = released.find("Qwen/Qwen3-VL-2B-Instruct@v1")
    assert found == released.Source(checkpoint, "Qwen/Qwen3-VL-2B-Instruct", "a" * 40)
    assert asked["name"] == "Qwen/Qwen3-VL-2B-Instruct"
    assert asked["revision"] == "a" * 40  # what "v1" was is pinned
    assert not any(pattern.endswith((".bin", ".py", ".pt")) for pattern in asked["allow_patterns"])


def test_a_base_that_was_found_before_is_known_again(checkpoint: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(released, "snapshot_download", None)  # nothing is fetched to tell
    monkeypatch.setattr(released.HfApi, "model_info", lambda self, name, revision: SimpleNamespace(sha="a" * 40))
    local, hub = released.Source(checkpoint.resolve()), released.Source(checkpoint, "Qwen/X", "a" * 40)
    assert released.is_same(str(checkpoint), local)
    assert not released.is_same(str(tmp_path), local)
    assert not released.is_same(str(checkpoint), hub)
    for base in ("Qwen/X", hub.name, "Qwen/X@main"):
        assert released.is_same(base, hub)
        assert not any(released.is_same(base, other) for other in (local, None))
    monkeypatch.setattr(released.HfApi, "model_info", lambda self, name, revision: SimpleNamespace(sha="b" * 40))
    assert released.is_same("Qwen/X", hub)  # the newest is another by now
    assert not released.is_same("Qwen/X@main", hub)


def test_a_glance_at_the_hub_fetches_small_files_and_headers(checkpoint: Path, tmp_path: Path, monkeypatch) -> None:
    small, asked = tmp_path / "small", {}
    small.mkdir()

    def download(name: str, **given) -> str:
        asked.update(given, name=name)
        for pattern in given["allow_patterns"]:
            for path in checkpoint.glob(pattern):
                shutil.copy(path, small)
        return str(small)

    def headers(self, name: str, revision: str) -> SimpleNamespace:
        assert revision == "a" * 40
        return SimpleNamespace(files_metadata=files)

    files = {}
    for path in checkpoint.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            tensors = {n: SimpleNamespace(shape=p.get_shape(), dtype=p.get_dtype()) for n, p in parts.items()}
        files[path.name] = SimpleNamespace(tensors=tensors)
    monkeypatch.setattr(released.HfApi, "model_info", lambda self, name, revision: SimpleNamespace(sha="a" * 40))
    monkeypatch.setattr(released.HfApi, "get_safetensors_metadata", headers)
    monkeypatch.setattr(released, "snapshot_download", download)
    seen = released.glance("Qwen/Qwen3-VL-2B-Instruct@v1")
    assert not list(small.glob("*.safetensors"))
    assert asked["revision"] == "a" * 40
    whole = released.look_into(checkpoint)
    assert (seen.parameters, seen.bytes_, seen.side) == (whole.parameters, whole.bytes_, whole.side)
    assert released.glance(str(checkpoint)).parameters == whole.parameters

    def none(self, name: str, revision: str) -> None:
        raise NotASafetensorsRepoError("no safetensors")

    monkeypatch.setattr(released.HfApi, "get_safetensors_metadata", none)
    with pytest.raises(PinLabError, match="has no safetensors"):
        released.glance("Qwen/Qwen3-VL-2B-Instruct@v1")


@pytest.mark.parametrize("base", ["./nowhere", "/no/such/folder", "qwen", "a/b/c"])
def test_what_is_neither_folder_nor_hub_id_is_refused(base: str) -> None:
    with pytest.raises(PinLabError, match="no such folder, and no Hub id"):
        released.find(base)


def test_a_hub_that_does_not_give_it_is_a_clear_line(monkeypatch) -> None:
    def info(self, name: str, revision: str | None = None) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr(released.HfApi, "model_info", info)
    with pytest.raises(PinLabError, match="the Hub does not give it .*give a local folder"):
        released.find("Qwen/Qwen3-VL-2B-Instruct")


def test_a_checkpoint_that_was_never_fetched_is_named_with_the_remedy(monkeypatch) -> None:
    def download(name: str, **given) -> str:
        raise LocalEntryNotFoundError("not there")

    monkeypatch.setattr(released, "snapshot_download", download)
    with pytest.raises(PinLabError, match="hf download Qwen/X"):
        released.fetched("Qwen/X", "c" * 40, offline=True)


def test_repository_errors_are_among_those_that_are_caught() -> None:
    assert issubclass(RepositoryNotFoundError, released.HfHubHTTPError)
