"""What a model that writes computes, how it ends, what it refuses, and how much memory it takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.engine.conftest import Run
from tests.unit.engine.decoder import SPECIALS, TinyDecoder, decoder_config

engine = pytest.importorskip("wickguard_engine")


@pytest.fixture
def decoder(tmp_path: Path) -> TinyDecoder:
    """A model directory not yet written."""
    return TinyDecoder(tmp_path)


def load(path: Path, **kwargs: Any) -> engine.Generator:
    """The model at a path, known to be one that writes."""
    model = engine.load(path, **kwargs)
    assert isinstance(model, engine.Generator)
    return model


def write(session: engine.Session) -> tuple[str, list[int], str]:
    """Text, ids and finish reason of a whole answer."""
    text, ids = "", []
    while True:
        step = session.step()
        text += step.text
        ids.append(step.id)
        if step.finish:
            return text, ids, step.finish


def logits(model: engine.Generator, ids: list[int]) -> np.ndarray:
    """[ids, vocab]."""
    return np.frombuffer(model.logits(ids), "<f4").reshape(len(ids), -1)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kind", ["llama", "qwen2"])
@pytest.mark.parametrize("tokens", [1, 2, 17, 255, 257, 560])
def test_logits_are_those_of_the_paper_when_sizes_are_ragged_and_chunks_end_anywhere(
    tmp_path: Path, kind: str, tied: bool, tokens: int
) -> None:
    """The same sums in numpy, across vectors, panels and chunks."""
    tiny = TinyDecoder(tmp_path, config=decoder_config(model_type=kind, tie_word_embeddings=tied))
    ids = [(7 * i * i + 3 * i) % 250 + 3 for i in range(tokens)]
    want = tiny.logits(ids)
    assert np.abs(logits(load(tiny.write()), ids) - want).max() < 2e-4 * np.abs(want).max()


def test_steps_choose_what_the_logits_of_the_whole_say_when_the_cache_is_used(decoder: TinyDecoder) -> None:
    """Greedy tokens, one at a time, are the largest logits of one pass over all of them."""
    model = load(decoder.write())
    prompt = [(5 * i) % 200 + 3 for i in range(250)]
    _, ids, _ = write(model.start(prompt, max_tokens=40))
    rows = logits(model, prompt + ids)[len(prompt) - 1 : -1]
    assert ids == rows.argmax(-1).tolist()


def test_half_precision_is_converted_when_the_file_has_it(decoder: TinyDecoder) -> None:
    """F16 weights give nearly the logits of the F32 ones."""
    ids = list(range(3, 40))
    want = logits(load(decoder.write()), ids)
    assert np.abs(logits(load(decoder.write(dtype="F16")), ids) - want).max() < 0.02 * np.abs(want).max()


def test_same_seed_writes_the_same_when_sampling(decoder: TinyDecoder) -> None:
    """Draws depend on the seed and nothing else."""
    model = load(decoder.write())
    asked = {"max_tokens": 30, "temperature": 1.5, "top_p": 0.95, "top_k": 50}
    once, again, other = (write(model.start("hello", seed=seed, **asked)) for seed in (5, 5, 6))
    assert once == again != other


def test_answer_ends_before_the_stop_string_when_tokens_spell_it_together(decoder: TinyDecoder) -> None:
    """The stop string is taken from the middle of a known answer, across borders of its tokens."""
    model = load(decoder.write())
    asked = {"max_tokens": 60, "temperature": 2.0, "seed": 3}
    whole, ids, _ = write(model.start("hello", **asked))
    stop = whole[20:26]
    text, short, finish = write(model.start("hello", stop=["never in it", stop], **asked))
    assert (text, finish) == (whole[: whole.index(stop)], "stop")
    assert len(short) < len(ids)


def test_answer_ends_when_the_model_says_so(decoder: TinyDecoder) -> None:
    """The end token ends the answer and has no text; generation_config.json may name more of them."""
    decoder.tensors["lm_head.weight"][:] = 0
    decoder.tensors["lm_head.weight"][200] = 1e-3
    model = load(decoder.write())
    _, ids, finish = write(model.start("a", max_tokens=5))
    assert finish == "length" or 200 not in ids
    chosen = ids[0]
    decoder.more["generation_config.json"] = json.dumps({"eos_token_id": [1, chosen]})
    session = load(decoder.write()).start("a", max_tokens=5)
    assert write(session) == ("", [chosen], "stop")
    assert (session.prompt_tokens, session.completion_tokens) == (2, 1)
    with pytest.raises(engine.BadShape, match="has ended"):
        session.step()


def test_special_tokens_are_plain_text_when_a_caller_spells_them(decoder: TinyDecoder) -> None:
    """In a prompt and in a message; only the template and the tokenizer's own rule write the real ones."""
    decoder.more["tokenizer_config.json"] = json.dumps(
        {
            "chat_template": "{% for m in messages %}<|user|>{{ m['content'] }}{% endfor %}{{ eos_token }}",
            "eos_token": "</s>",
        }
    )
    model = load(decoder.write())
    spelled = "".join(SPECIALS)
    ids = model.encode(spelled)
    assert ids[0] == 0 and min(ids[1:]) > 2
    chat = model.encode_chat([("user", spelled), ("user", "x")])
    assert [i for i in chat if i < 3] == [2, 2, 1]
    assert chat[1 : len(ids)] == ids[1:]
    spec = model.spec
    assert (spec.chat_tokens, spec.message_tokens, spec.special_tokens) == (2, 2, 1)


def test_conversation_is_written_plainly_when_there_is_no_template(decoder: TinyDecoder) -> None:
    """One line each, then the assistant's turn."""
    model = load(decoder.write())
    assert model.encode_chat([("system", "s"), ("user", "u")]) == model.encode("system: s\nuser: u\nassistant:")[1:]


@pytest.mark.parametrize(
    ("asked", "word"),
    [
        ({"max_tokens": 0}, "1 to 597"),
        ({"max_tokens": 598}, "1 to 597"),
        ({"max_tokens": 2**62}, "1 to 597"),
        ({"max_tokens": 5, "temperature": float("nan")}, "temperature"),
        ({"max_tokens": 5, "temperature": -1.0}, "temperature"),
        ({"max_tokens": 5, "top_p": 0.0}, "top_p"),
        ({"max_tokens": 5, "repetition_penalty": 0.0}, "repetition_penalty"),
        ({"max_tokens": 5, "presence_penalty": float("inf")}, "presence_penalty"),
        ({"max_tokens": 5, "stop": ["a"] * 17}, "stop strings"),
        ({"max_tokens": 5, "stop": [""]}, "stop string"),
        ({"max_tokens": 5, "stop": ["a" * 257]}, "stop string"),
    ],
)
def test_session_is_refused_by_parameter_when_it_does_not_fit(
    decoder: TinyDecoder, asked: dict[str, Any], word: str
) -> None:
    """Nothing is allocated for it, and the message names what to change."""
    model = load(decoder.write())
    before = engine.ledger().current
    with pytest.raises(engine.BadShape, match=word):
        model.start([3, 4, 5], **asked)
    assert engine.ledger().current == before


@pytest.mark.parametrize(
    ("prompt", "kind", "word"),
    [
        ([], engine.BadShape, "no tokens"),
        ([3] * 601, engine.BadShape, "limit is 600"),
        ([3] * 600, engine.BadShape, "600 tokens"),
        ([99999], engine.BadShape, "token id 99999"),
        ([-1], engine.BadShape, "no vocabulary"),
        ([2**40], engine.BadShape, "no vocabulary"),
        (["a"], TypeError, "no int"),
        ("x" * 601, engine.BadShape, "more than 600"),
        ("x" * 10_000_000, engine.BadShape, "more than 600"),
        ("\ud800", engine.BadShape, "Unicode"),
        (5, TypeError, "int"),
    ],
)
def test_prompt_is_refused_when_the_model_can_not_take_it(
    decoder: TinyDecoder, prompt: Any, kind: type[Exception], word: str
) -> None:
    """Each with what was seen and what would be taken."""
    with pytest.raises(kind, match=word):
        load(decoder.write()).start(prompt, max_tokens=1)


def test_call_fails_and_nothing_else_when_the_model_computes_what_is_no_number(decoder: TinyDecoder) -> None:
    """Damaged weights are found at the first token; the process and other sessions go on."""
    decoder.tensors["model.norm.weight"][0] = np.nan
    model = load(decoder.write())
    session = model.start("abc", max_tokens=3)
    with pytest.raises(engine.BadWeights, match="weights are damaged"):
        session.step()
    with pytest.raises(engine.BadShape, match="has ended"):
        session.step()
    assert not engine.panicked()


@pytest.mark.parametrize(
    ("field", "value", "kind", "word"),
    [
        ("hidden_act", "gelu", engine.Unsupported, "hidden_act"),
        ("attention_bias", True, engine.Unsupported, "attention_bias"),
        ("mlp_bias", True, engine.Unsupported, "mlp_bias"),
        ("use_sliding_window", True, engine.Unsupported, "use_sliding_window"),
        ("layer_types", ["full_attention", "sliding_attention"], engine.Unsupported, "layer_types"),
        ("rope_scaling", {"rope_type": "yarn", "factor": 4}, engine.Unsupported, "yarn"),
        ("rope_theta", 0, engine.BadWeights, "rope_theta"),
        ("rms_norm_eps", 0, engine.BadWeights, "rms_norm_eps"),
        ("hidden_size", 2**40, engine.BadWeights, "hidden_size"),
        ("num_key_value_heads", 4, engine.BadWeights, "num_key_value_heads"),
        ("head_dim", 11, engine.BadWeights, "head_dim"),
        ("head_dim", 4096, engine.BadWeights, "head_dim"),
        ("vocab_size", 100, engine.BadWeights, "model.embed_tokens.weight"),
        ("eos_token_id", 99999, engine.BadWeights, "eos_token_id"),
        ("model_type", "mamba", engine.Unsupported, "mamba"),
        ("max_position_embeddings", 1, engine.BadWeights, "max_position_embeddings"),
    ],
)
def test_model_is_refused_by_field_when_the_configuration_is_not_this_engines(
    decoder: TinyDecoder, field: str, value: Any, kind: type[Exception], word: str
) -> None:
    """Before anything is allocated from a number in it."""
    decoder.config[field] = value
    with pytest.raises(kind, match=word):
        engine.load(decoder.write())


def test_template_is_refused_when_it_is_none(decoder: TinyDecoder) -> None:
    """A damaged template is found when the model is loaded, not when someone chats."""
    decoder.more["chat_template.jinja"] = "{% for %}"
    with pytest.raises(engine.BadWeights, match="chat_template"):
        engine.load(decoder.write())


@pytest.mark.parametrize("dtype", ["F32", "F16"])
@pytest.mark.parametrize("tied", [False, True])
def test_loading_takes_no_more_than_its_need_when_it_is_measured(tmp_path: Path, tied: bool, dtype: str) -> None:
    """The need in the refusal is above the real peak, and a limit at the need is enough."""
    tiny = TinyDecoder(
        tmp_path, config=decoder_config(tie_word_embeddings=tied, hidden_size=512, intermediate_size=900)
    )
    path = tiny.write(dtype=dtype)
    with pytest.raises(engine.OutOfMemory) as refused:
        engine.load(path, memory_limit=1 << 21)
    need = int(str(refused.value).split("needs ")[1].split()[0])
    before = engine.ledger().current
    engine.reset_peak()
    model = load(path, memory_limit=need)
    assert engine.ledger().peak - before <= need
    assert engine.ledger().current - before <= model.spec.weight_bytes + (1 << 19)


@pytest.mark.parametrize(("tokens", "most"), [(1, 1), (5, 400), (300, 20), (599, 1)])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_call_takes_no_more_than_its_peak_when_it_is_measured(
    decoder: TinyDecoder, tokens: int, most: int, temperature: float
) -> None:
    """All of it at the start: steps add nothing that lasts, and the whole stays under the bound."""
    model = load(decoder.write())
    text = "x" * (tokens - 1)
    before = engine.ledger().current
    engine.reset_peak()
    session = model.start(text, max_tokens=most, temperature=temperature, stop=["\n\n"])
    started = engine.ledger().current
    write(session)
    assert engine.ledger().peak - before <= model.peak_bytes(tokens, most, len(text))
    assert engine.ledger().current - started < 4096
    del session
    assert engine.ledger().current == before


def test_long_texts_and_conversations_stay_under_the_peak_when_they_are_hostile(tmp_path: Path) -> None:
    """Words without end, spaces without end, thousands of messages."""
    model = load(TinyDecoder(tmp_path, config=decoder_config(max_position_embeddings=1 << 18)).write())
    for text in ("q" * 200_000, " " * 200_000, "世" * 60_000):
        before = engine.ledger().current
        engine.reset_peak()
        tokens = len(model.encode(text))
        assert engine.ledger().peak - before <= model.peak_bytes(tokens, 1, len(text.encode()))
    messages = [("user", "hello <s> there")] * 3000
    before = engine.ledger().current
    engine.reset_peak()
    tokens = len(model.encode_chat(messages))
    nbytes = sum(len(role) + len(content) for role, content in messages)
    assert engine.ledger().peak - before <= model.peak_bytes(tokens, 1, nbytes)
    assert model.spec.chat_tokens + 3000 * (model.spec.message_tokens + 16) >= tokens


def test_call_stops_inside_a_prompt_when_it_is_cancelled(run: Run, tmp_path: Path) -> None:
    """A signal during a long prompt ends the step long before the prompt would have been read."""
    tiny = TinyDecoder(
        tmp_path,
        config=decoder_config(
            hidden_size=256, intermediate_size=1024, num_hidden_layers=4, max_position_embeddings=1 << 15
        ),
    )
    program = """
import signal, sys, time
import wickguard_engine as engine
model = engine.load(sys.argv[1])
prompt = [5] * 3000
begun = time.process_time()
model.start(prompt[:300], max_tokens=1).step()
tenth = time.process_time() - begun
engine.cancel_on_signal(signal.SIGALRM)
session = model.start(prompt * 8, max_tokens=1)
begun = time.process_time()
signal.setitimer(signal.ITIMER_REAL, tenth)
try:
    session.step()
except engine.Cancelled:
    print("cancelled", time.process_time() - begun < 40 * tenth)
engine.clear_cancel()
print(model.start(prompt[:10], max_tokens=1).step().finish)
"""
    done = run(program, tiny.write())
    assert done.stdout.split("\n")[:2] == ["cancelled True", "length"], done.stdout + done.stderr


def test_operations_grow_with_prompt_and_answer_when_counted(decoder: TinyDecoder) -> None:
    """The count is that of the products in the numpy reference."""
    model = load(decoder.write())
    c = decoder.config
    d, inner, q = c["hidden_size"], c["intermediate_size"], c["num_attention_heads"] * c["head_dim"]
    kv = c["num_key_value_heads"] * c["head_dim"]
    layer = 2 * (d * (q + 2 * kv) + q * d + 3 * d * inner)
    for prompt, new in ((1, 1), (10, 1), (10, 5)):
        tokens = prompt + new - 1
        attention = sum(4 * q * (i + 1) for i in range(tokens))
        want = c["num_hidden_layers"] * (layer * tokens + attention) + 2 * d * c["vocab_size"] * new
        assert model.flops(prompt, new) == want
