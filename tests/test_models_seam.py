"""The seam: what the vision layer says can be stored, or replaced, without the text stack noticing.

The keystone of PinLab: with stored tower outputs a Qwen3-VL gives the very same hidden states, with its vision layer
gone as with it there, and with one token per pin its text stack is a plain Qwen3.
"""

from __future__ import annotations

import copy

import pytest
import torch
import toy
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Qwen3Config, Qwen3Model

from pinlab.models import nano, prompt
from pinlab.models.backbone import VECTOR, Backbone, Projector, encoder_outputs
from pinlab.models.prompt import METADATA_TOKENS, TEXT_TOKENS, PinPart, PromptBatch
from pinlab.models.vision import VisionFeatures, image_grid, normalise, patchify, run_tower

SIDE = 96


@pytest.fixture(scope="module", autouse=True)
def _no_gradients():
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module", params=["tiny", "nano"])
def backbone(request: pytest.FixtureRequest) -> Backbone:
    if request.param == "tiny":
        return toy.backbone(5)
    return Backbone.fresh(nano.nano_config(toy.tokenizer()), 5).eval()


def prompt_of(rows: list[int], text: str = "", *, item: bool = False) -> PromptBatch:
    builder = toy.builder()
    pins = [PinPart((3, 3), True, builder.metadata(toy.data().texts[row])) for row in rows]
    return builder.build([(pins, builder.text(text))], item=item)


def released(backbone: Backbone, batch: PromptBatch, pixels: torch.Tensor) -> torch.Tensor:
    """Hidden states (B, T, D) of the released forward pass, pixels in, positions of its own making."""
    image = backbone.qwen.config.image_token_id
    mask = torch.arange(batch.ids.shape[1])[None, :] <= batch.last[:, None]
    out = backbone.qwen(
        input_ids=batch.ids,
        attention_mask=mask.long(),
        pixel_values=patchify(pixels).flatten(0, 1),
        image_grid_thw=image_grid(len(pixels), SIDE),
        mm_token_type_ids=(batch.ids == image).int(),
        use_cache=False,
    )
    return out.last_hidden_state


@pytest.mark.parametrize(
    ("rows", "text"), [([0], ""), ([3, 17, 11], ""), ([5, 8], "boats and cats"), (list(range(10)), "")]
)
def test_stored_tower_output_gives_the_very_same_hidden_states(backbone: Backbone, rows: list[int], text: str) -> None:
    batch, pixels = prompt_of(rows, text), normalise(toy.images()[rows])
    expected = released(backbone, batch, pixels)
    stored = run_tower(backbone.qwen.visual, pixels)
    found = backbone.hidden(batch, stored)
    assert (found - expected).abs().max().item() == 0.0
    without = copy.deepcopy(backbone)
    without.remove_vision_layer()
    assert not hasattr(without.qwen, "visual")
    assert not without.has_vision_layer
    assert (without.hidden(batch, stored) - expected).abs().max().item() == 0.0
    changed = VisionFeatures(stored.tokens, stored.deepstack * 0)
    assert (backbone.hidden(batch, changed) - expected).abs().max() > 1e-4  # DeepStack is really used


def test_a_prompt_without_pictures_is_that_of_the_released_model(backbone: Backbone) -> None:
    builder = toy.builder()
    batch = builder.build([((), builder.text("a boat"))])
    expected = backbone.qwen(input_ids=batch.ids, use_cache=False).last_hidden_state
    assert (backbone.hidden(batch, None) - expected).abs().max().item() == 0.0


@pytest.mark.parametrize("gate", [0.0, 1.0])
def test_right_padding_changes_nothing(backbone: Backbone, gate: float) -> None:
    backbone, builder = copy.deepcopy(backbone), toy.builder()
    backbone.gate.fill_(gate)
    rows = [[0], [1, 2, 3], [], [4] * 7, [5, 6], [7], [8, 9, 10, 11], [12]]
    texts = ["", "lamps", "a board of trees", "", "cats", "x", "", "boats that sail"]
    prompts = [
        ([PinPart((3, 3), True, builder.metadata(toy.data().texts[r])) for r in some], builder.text(text))
        for some, text in zip(rows, texts, strict=True)
    ]
    batch = builder.build(prompts)
    assert len(set(batch.last.tolist())) > 4  # lengths differ
    flat = [r for some in rows for r in some]
    features = run_tower(backbone.qwen.visual, normalise(toy.images()[flat]))
    together, at = backbone(batch, features), 0
    assert batch.tokens == sum(builder.build([prompt]).tokens for prompt in prompts)
    padded = released(backbone, batch, normalise(toy.images()[flat]))
    for i, some in enumerate(rows):
        mine = features.select(torch.arange(at, at + len(some)))
        at += len(some)
        alone = builder.build([prompts[i]])
        assert (backbone(alone, mine)[0] - together[i]).abs().max() < 1e-5
        hidden = backbone.hidden(alone, mine)[0]
        assert (hidden - padded[i, : alone.tokens]).abs().max() < 1e-4  # hidden states are tens of units long


def test_vectors_are_unit_and_read_at_the_last_token(backbone: Backbone) -> None:
    batch = prompt_of([1, 2])
    features = run_tower(backbone.qwen.visual, normalise(toy.images()[[1, 2]]))
    vector = backbone(batch, features)
    assert vector.shape == (1, VECTOR)
    assert vector.norm(dim=-1).item() == pytest.approx(1, abs=1e-6)
    read = backbone.head(backbone.hidden(batch, features)[0, -1])
    assert torch.allclose(vector[0], read / read.norm(), atol=1e-6)


def test_the_gate_adds_the_mean_state_of_the_pictures(backbone: Backbone) -> None:
    model = copy.deepcopy(backbone)
    model.gate.fill_(0.7)
    builder = toy.builder()
    shown = ([PinPart((3, 3), True, builder.metadata("boat"))] * 2, ())
    batch = builder.build([shown, ((), builder.text("only words, and more of them than anything else here"))])
    features = run_tower(model.qwen.visual, normalise(toy.images()[:2]))
    hidden = model.hidden(batch, features)
    found = model(batch, features)
    for row, last in enumerate(batch.last.tolist()):
        state = hidden[row, last].clone()
        pictures = [hidden[row, i] for i in range(last + 1) if batch.ids[row, i] == builder.image]
        if pictures:
            state += 0.7 * torch.stack(pictures).mean(0)
        read = model.head(state)
        assert torch.allclose(found[row], read / read.norm(), atol=1e-5)


def as_qwen3(backbone: Backbone) -> Qwen3Model:
    """The text stack's weights in the plain text model of the same name."""
    text = backbone.qwen.config.text_config
    config = Qwen3Config(
        vocab_size=text.vocab_size,
        hidden_size=text.hidden_size,
        intermediate_size=text.intermediate_size,
        num_hidden_layers=text.num_hidden_layers,
        num_attention_heads=text.num_attention_heads,
        num_key_value_heads=text.num_key_value_heads,
        head_dim=text.head_dim,
        rms_norm_eps=text.rms_norm_eps,
        max_position_embeddings=text.max_position_embeddings,
        rope_parameters={"rope_type": "default", "rope_theta": text.rope_parameters["rope_theta"]},
        tie_word_embeddings=True,
    )
    plain = Qwen3Model(config).eval()
    plain.load_state_dict(backbone.qwen.language_model.state_dict())
    return plain


@pytest.mark.parametrize("texts", [[""], ["a wish", ""]])
def test_without_deepstack_the_short_way_is_the_official_one(backbone: Backbone, texts: list[str]) -> None:
    """`Backbone.hidden` asks the text stack itself; `Qwen3VLModel.forward` gives the same, to the last bit."""
    builder = toy.builder()
    batch = builder.build([([PinPart((1, 1), False)] * 3, builder.text(text)) for text in texts])
    features = Projector(24, backbone.qwen.config.text_config.hidden_size)(torch.randn(3 * len(texts), 24))
    official = backbone.qwen(
        input_ids=batch.ids,
        position_ids=batch.positions,
        mm_encoder_outputs=encoder_outputs(features),
        use_cache=False,
    ).last_hidden_state
    assert torch.equal(backbone.hidden(batch, features), official)


@pytest.mark.parametrize("pins", [1, 3, 10])
def test_with_one_token_per_pin_the_text_stack_is_a_plain_qwen3(backbone: Backbone, pins: int) -> None:
    model = copy.deepcopy(backbone)
    model.remove_vision_layer()
    builder = toy.builder()
    torch.manual_seed(0)
    features = Projector(24, model.qwen.config.text_config.hidden_size)(torch.randn(pins, 24))
    batch = builder.build([([PinPart((1, 1), False)] * pins, builder.text("boats"))])
    embeds = model.qwen.language_model.embed_tokens(batch.ids).clone()
    embeds[batch.ids == builder.image] = features.tokens[:, 0]
    plain = as_qwen3(model)(inputs_embeds=embeds, use_cache=False).last_hidden_state
    assert (model.hidden(batch, features) - plain).abs().max().item() < 1e-6
    assert torch.equal(batch.positions, torch.arange(batch.tokens).expand(3, 1, -1))


PARTS = st.builds(
    lambda rows, columns, metadata: PinPart((rows, columns), True, tuple(metadata)),
    st.integers(1, 5),
    st.integers(1, 5),
    st.lists(st.integers(20, 200), max_size=5),
)
WORDS = st.lists(st.integers(20, 200), max_size=6)
# Each pin once or several times on end, as a model that sees one token of each has them.
RUNS = st.builds(lambda part, times: [part] * times, PARTS, st.integers(1, 3))
PINS = st.lists(RUNS, max_size=5).map(lambda runs: sum(runs, []))
PROMPTS = st.lists(st.tuples(PINS, WORDS), min_size=1, max_size=4)


TURNS = st.lists(st.lists(WORDS.filter(bool), max_size=3), min_size=4, max_size=4)


@settings(deadline=None, max_examples=80)
@given(PROMPTS, st.booleans(), TURNS)
def test_positions_are_those_of_get_rope_index(prompts: list, item: bool, turns: list) -> None:
    model = ROPE.qwen
    batch = toy.builder().build(prompts, item=item, turns=turns[: len(prompts)])
    grids = [[1, 2 * part.grid[0], 2 * part.grid[1]] for parts, _ in prompts for part in parts]
    mask = (torch.arange(batch.ids.shape[1])[None, :] <= batch.last[:, None]).long()
    expected, _ = model.get_rope_index(
        batch.ids,
        mm_token_type_ids=(batch.ids == toy.builder().image).int(),
        image_grid_thw=torch.tensor(grids) if grids else None,
        attention_mask=mask,
    )
    kept = mask.bool().expand_as(expected)
    assert torch.equal(batch.positions[kept], expected[kept])


ROPE = toy.backbone(0)


def test_a_prompt_of_many_equal_pins_is_written_in_as_many_steps_as_one_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    written, real = [], prompt._Row.write

    def spied(self: prompt._Row, *given) -> None:
        written.append(given)
        real(self, *given)

    monkeypatch.setattr(prompt._Row, "write", spied)
    counts = []
    for pins in (1, 10, 50):
        written.clear()
        batch = toy.builder().build([([PinPart((1, 1), False)] * pins, ())])
        assert int((batch.ids == toy.builder().image).sum()) == pins
        counts.append(len(written))
    assert len(set(counts)) == 1


# Prompts: the template, and what users write stays what they wrote.


def test_the_prompt_is_qwens_chat_template() -> None:
    builder = toy.builder()
    batch = builder.build([([PinPart((1, 2), True, builder.metadata("a boat"))], builder.text("boats"))])
    assert toy.tokenizer().decode(batch.ids[0]) == (
        "<|im_start|>user\n<|vision_start|><|image_pad|><|image_pad|><|vision_end|>a boat\nboats\nrecommend<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    item = builder.build([([PinPart((1, 1), False)], ())], item=True)
    assert toy.tokenizer().decode(item.ids[0]) == (
        "<|im_start|>user\n<|image_pad|>\nrepresent<|im_end|>\n<|im_start|>assistant\n"
    )
    assert item.tokens == item.ids.shape[1] == item.last.item() + 1


CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.mark.parametrize("turns", [(), ("only red ones",), ("only red ones", "without cats")])
def test_follow_ups_are_a_conversation_in_qwens_chat_template(turns: tuple[str, ...]) -> None:
    """What `apply_chat_template` makes of the same conversation, the answers in pins being empty messages."""
    builder = toy.builder()
    prompt = ([PinPart((1, 1), True, builder.metadata("a boat"))], builder.text("boats"))
    batch = builder.build([prompt], turns=[[builder.text(turn) for turn in turns]])
    first = "<|vision_start|><|image_pad|><|vision_end|>a boat\nboats\nrecommend"
    messages = [{"role": "user", "content": first}]
    for turn in turns:
        messages += [{"role": "assistant", "content": ""}, {"role": "user", "content": f"\n{turn}\nrecommend"}]
    expected = toy.tokenizer().apply_chat_template(
        messages, chat_template=CHATML, add_generation_prompt=True, tokenize=False
    )
    assert toy.tokenizer().decode(batch.ids[0]) == expected
    assert batch.tokens == len(batch.ids[0])


def test_prompts_without_follow_ups_are_the_same_beside_some_that_have_them() -> None:
    builder = toy.builder()
    plain = ([PinPart((3, 3), True, builder.metadata("a boat"))], builder.text("boats"))
    alone, beside = builder.build([plain]), builder.build([plain, plain], turns=[[], [builder.text("red")]])
    assert torch.equal(beside.ids[0, : alone.tokens], alone.ids[0])
    assert torch.equal(beside.positions[:, 0, : alone.tokens], alone.positions[:, 0])
    assert beside.last[0] == alone.last[0]
    assert beside.last[1] > alone.last[0]


def test_long_texts_are_cut() -> None:
    builder = toy.builder()
    assert len(builder.metadata("boat " * 500)) == METADATA_TOKENS
    assert len(builder.text("boat " * 500)) == TEXT_TOKENS
    assert builder.text("") == builder.metadata("") == ()


PIECES = st.sampled_from([*nano.SPECIAL_TOKENS, "<", "|", "<|", "|>", "image_pad", " ", "boat", "\u00e9", "\n"])


@settings(deadline=None, max_examples=200)
@given(st.lists(PIECES | st.text(max_size=3), max_size=8).map("".join))
def test_text_that_spells_a_special_token_stays_text(text: str) -> None:
    builder = toy.builder()
    special = set(toy.tokenizer().convert_tokens_to_ids(list(nano.SPECIAL_TOKENS)))
    assert not special & set(builder.text(text))
    assert not special & set(builder.metadata(text))


def test_a_hostile_title_adds_no_image_to_the_prompt() -> None:
    builder = toy.builder()
    parts = [PinPart((3, 3), True, builder.metadata(toy.INJECTION))]
    batch = builder.build([(parts, builder.text(toy.INJECTION))])
    assert (batch.ids == builder.image).sum() == 9
    assert toy.tokenizer().decode(builder.text("<|image_pad|> x")) == "< |image_pad|> x"
