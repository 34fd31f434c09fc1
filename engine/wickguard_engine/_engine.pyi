"""The native module. `wickguard_engine` re-exports all of it; import that."""

from os import PathLike
from typing import Final, Literal, TypedDict, final

__version__: Final[str]
LEDGER_BYTES: Final[int]
LEDGER_LAYOUT: Final[tuple[str, str, str, str]]

class EngineError(Exception):
    """Anything the engine can't or won't do. Itself only for a fault of the engine ("internal: ...")."""

class OutOfMemory(EngineError):
    """More memory would be needed than is allowed; the message has the need and the limit in bytes."""

class BadShape(EngineError):
    """The input does not fit the model; the message says which input, what was seen, and the limit."""

class BadWeights(EngineError):
    """A model file is damaged or contradicts another; the message has file and field."""

class Unsupported(EngineError):
    """A model file is sound but asks for what this engine does not do; the message has file and field."""

class Cancelled(EngineError):
    """Stopped at a checkpoint because `cancel()` was called."""

@final
class ModelSpec:
    """What a loaded model is. A number that the model has not is None.

    `weight_bytes` is what the weights take in memory and in the mapped file. `token_expansion` is the most tokens that
    one byte of UTF-8 text can become, `special_tokens` what is added to every input, `max_tokens` the limit with these
    (for generation: of prompt and answer together), `dimensions` the length of a vector, `kv_heads` and `head_width`
    the shape of the cache of keys and values. `chat_tokens` is what the chat template makes of one empty message,
    `message_tokens` the most that one more empty message adds. `warnings` are findings about the model's files.
    """

    @property
    def task(self) -> Literal["embed", "generate", "classify", "forecast"]: ...
    @property
    def architecture(self) -> str: ...
    @property
    def parameters(self) -> int: ...
    @property
    def weight_bytes(self) -> int: ...
    @property
    def warnings(self) -> list[str]: ...
    @property
    def layers(self) -> int | None: ...
    @property
    def hidden(self) -> int | None: ...
    @property
    def heads(self) -> int | None: ...
    @property
    def kv_heads(self) -> int | None: ...
    @property
    def head_width(self) -> int | None: ...
    @property
    def intermediate(self) -> int | None: ...
    @property
    def vocab(self) -> int | None: ...
    @property
    def max_tokens(self) -> int | None: ...
    @property
    def dimensions(self) -> int | None: ...
    @property
    def token_expansion(self) -> float | None: ...
    @property
    def special_tokens(self) -> int | None: ...
    @property
    def chat_tokens(self) -> int | None: ...
    @property
    def message_tokens(self) -> int | None: ...

@final
class Embeddings:
    """`data`: little-endian f32, inputs x dimensions, row by row. `tokens`: per input, special tokens included."""

    @property
    def data(self) -> bytes: ...
    @property
    def tokens(self) -> list[int]: ...

@final
class Ledger:
    """Bytes that the engine holds, held at most since `reset_peak`, and may hold (2**64 - 1: no limit)."""

    @property
    def current(self) -> int: ...
    @property
    def peak(self) -> int: ...
    @property
    def limit(self) -> int: ...

@final
class Embedder:
    """A loaded model of task "embed". Immutable; safe to use after a fork and from several threads."""

    @property
    def spec(self) -> ModelSpec: ...
    def embed(
        self,
        inputs: list[str] | list[list[int]],
        *,
        truncate: bool = False,
        normalize: bool = True,
        special_tokens: bool = True,
    ) -> Embeddings:
        """One vector per input, of unit length if `normalize`. The GIL is released while it works.

        Token ids stand for text: the special tokens are put around them as around text, so don't send them along;
        with `special_tokens` false they are taken as they are, and bring their own.
        The spelling of a special token in a text is plain text. Inputs may be mixed.

        Raises BadShape for no inputs, an id outside the vocabulary, text that is no valid Unicode, or, without
        `truncate`, too many tokens (counting stops at the limit); Cancelled; TypeError for another type.
        """

    def peak_bytes(self, tokens: int, longest: int) -> int:
        """Upper bound of the bytes that `embed` takes in the ledger, for `tokens` in all and the longest input.

        Analytic: it reads no clock and allocates nothing. What Python itself takes for arguments and results is not
        in it.
        """

    def flops(self, lengths: list[int]) -> int:
        """Floating-point operations of the matrix products for inputs of these lengths (special tokens included)."""

@final
class Classifier:
    """A loaded model of task "classify". Immutable; safe to use after a fork and from several threads."""

    @property
    def spec(self) -> ModelSpec: ...
    @property
    def labels(self) -> list[str]:
        """The names of the classes, in the order of the logits."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of what the network sees."""

    def classify(self, images: list[bytes], *, max_pixels: int) -> bytes:
        """Logits, images x labels, as little-endian f32. The GIL is released while it works.

        Each image is a PNG, JPEG or WebP file of at most `max_pixels` pixels, which is compared before pixels are
        allocated; of an animation the first frame counts. It is resized and normalised as preprocessor_config.json
        says (as ViTImageProcessor does, if there is none): grey is repeated, transparency dropped.

        Raises BadShape for no images, or one that is damaged, too large, or of another format; Cancelled.
        """

    def classify_pixels(self, pixel_values: bytes) -> bytes:
        """The same for prepared images: little-endian f32, images x 3 x height x width of `size`, all finite."""

    def peak_bytes(self, count: int, file_bytes: int, height: int, width: int) -> int:
        """Upper bound of the bytes that `classify` takes for `count` images, the largest of these sizes."""

    def pixels_peak_bytes(self, count: int) -> int:
        """Upper bound of the bytes that `classify_pixels` takes for `count` images."""

    def flops(self) -> int:
        """Floating-point operations of the matrix products for one image."""

@final
class Forecaster:
    """A loaded model of task "forecast". Immutable; safe to use after a fork and from several threads."""

    @property
    def spec(self) -> ModelSpec: ...
    @property
    def context(self) -> int:
        """Points of a series that are looked at, from its end."""

    @property
    def horizon(self) -> int:
        """Points that are forecast in one piece; a longer horizon takes several."""

    @property
    def num_samples(self) -> int:
        """Samples per series when nothing is said."""

    @property
    def shape(self) -> dict[str, int]:
        """encoder_layers, decoder_layers, hidden, inner (columns of all heads), intermediate, vocab."""

    def forecast(
        self,
        series: list[bytes],
        horizon: int,
        *,
        num_samples: int | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
    ) -> bytes:
        """Samples of what may follow, series x num_samples x horizon, as little-endian f32. Releases the GIL.

        A series is little-endian f32, NaN where a value is missing. What is not said is as config.json says. The same
        seed draws the same samples.

        Raises BadShape for no series, an empty one, an infinite value, or a setting out of range; Cancelled.
        """

    def peak_bytes(self, count: int, points: int, horizon: int, num_samples: int) -> int:
        """Upper bound of the bytes that `forecast` takes for `count` series of at most `points` points."""

    def flops(self, points: int, horizon: int, num_samples: int) -> int:
        """Floating-point operations of the matrix products for one series."""

@final
class Generator:
    """A loaded model of task "generate". Immutable; safe to use after a fork and from several threads."""

    @property
    def spec(self) -> ModelSpec: ...
    def encode(self, text: str) -> list[int]:
        """The ids of a text, with the special tokens that the tokenizer puts around it.

        The spelling of a special token in a text is plain text. Texts of up to 16 KiB have exactly the ids that
        Hugging Face's tokenizers gives them; see engine/src/bpe.rs for longer ones. Raises BadShape for more tokens than
        the model takes (counting stops there), Cancelled.
        """

    def encode_chat(self, messages: list[tuple[str, str]]) -> list[int]:
        """The ids of a conversation, (role, content) each, by the model's own chat template, ready for the answer.

        Without a template each message is a line "role: content", and "assistant:" comes last. Only the template can
        write special tokens. Raises BadShape as `encode` and for what the template refuses, Cancelled.
        """

    def start(
        self,
        prompt: str | list[int],
        *,
        max_tokens: int,
        temperature: float = 0.0,
        top_p: float = 1.0,
        top_k: int = 0,
        seed: int = 0,
        stop: list[str] = ...,
        repetition_penalty: float = 1.0,
        presence_penalty: float = 0.0,
        frequency_penalty: float = 0.0,
        ignore_end: bool = False,
        in_batch: bool = False,
    ) -> Session:
        """Begin an answer: everything it needs is allocated now, nothing is computed yet.

        Ids are taken as they are, text as by `encode`. Temperature 0 takes the likeliest token; top_k 0 is no limit.
        `ignore_end` writes on where the model would end. The same seed draws the same on every machine. `in_batch`: it
        will be part of a Batch, whose buffers it uses; it has no steps of its own. Raises BadShape naming what does not
        fit, Cancelled, TypeError.
        """

    def logits(self, ids: list[int]) -> bytes:
        """Little-endian f32, ids x vocab: the logits after each id. Raises BadShape, Cancelled."""

    def peak_bytes(self, prompt_tokens: int, max_tokens: int, text_bytes: int = 0) -> int:
        """Upper bound of the bytes that a call takes in the ledger, its prompt made of `text_bytes` of text.

        Analytic, as Embedder.peak_bytes; `logits` takes ids x vocab x 4 more.
        """

    def flops(self, prompt_tokens: int, new_tokens: int) -> int:
        """Floating-point operations of the matrix products for a prompt and the tokens written after it."""

@final
class Session:
    """One answer in progress. Dropping it gives its memory back."""

    @property
    def prompt_tokens(self) -> int: ...
    @property
    def completion_tokens(self) -> int: ...
    def step(self) -> Step:
        """Compute the next token; the first step reads the prompt. The GIL is released.

        Raises Cancelled (checked before each layer, each head and each chunk of the prompt), BadWeights if the model
        computes what is no finite number, BadShape after the end or in a batch. A step that raised was the last.
        """

@final
class Batch:
    """Several answers in progress, a token of each per step: the weights are read once for all of them.

    Every answer is what it would be alone. With its sessions it takes no more memory than these would take alone.
    """

    def __init__(self, sessions: list[Session]) -> None:
        """The buffers are allocated now. Raises BadShape for no sessions, too many, or sessions of several models."""

    def step(self) -> list[tuple[int, Step]]:
        """Read the next prompt that was not read yet, or compute the next token of every answer that has not ended.

        Each step with the index of its session; empty when all have ended. Raises as Session.step, for all of them.
        """

@final
class Step:
    """`text`: whole characters, and nothing that a stop string may still take back; may be empty. `finish` on the last."""

    @property
    def id(self) -> int: ...
    @property
    def text(self) -> str: ...
    @property
    def finish(self) -> Literal["stop", "length"] | None: ...

class BuildInfo(TypedDict):
    """How the native module was built."""

    candle: str
    target_features: list[str]
    overflow_checks: bool
    faults: bool

def load(
    path: str | PathLike[str], *, memory_limit: int | None = None
) -> Embedder | Generator | Classifier | Forecaster:
    """Load a directory with config.json, model.safetensors and what the architecture needs besides.

    The class of the result goes with its `spec.task`.

    Starts no thread, runs no forward pass. Raises OutOfMemory before allocating if the computed need is above
    `memory_limit` bytes, BadWeights or Unsupported naming file and field. Tables that need no conversion stay in the
    mapped file: replace model files by renaming, never by writing into them.
    """

def ledger() -> Ledger:
    """The counters now. They cover every Rust allocation of the module, not Python's own."""

def reset_peak() -> None:
    """Start a new peak at the present level."""

def set_limit(nbytes: int | None) -> None:
    """Limit `current`. An allocation that would pass it ends the process by SIGABRT, its size noted as breach."""

def attach_ledger(address: int) -> None:
    """Move the counters into a writable shared page of LEDGER_BYTES at this address, which must outlive the process.

    Little-endian u64 in the order of LEDGER_LAYOUT; breach is 0, or the size of the first refused allocation. Call it
    while no other thread uses the engine.
    """

def cancel() -> None:
    """Make the running call, and later ones until `clear_cancel`, raise Cancelled at their next checkpoint."""

def clear_cancel() -> None:
    """Undo `cancel`."""

def cancel_on_signal(signum: int) -> None:
    """Install a native handler that does what `cancel` does.

    A Python handler would run only after the call: the interpreter runs handlers in the main thread, between
    bytecodes. Replaces the handler of the signal; `signal.signal` replaces this one.
    """

def panicked() -> bool:
    """Whether the engine has panicked since the process began. Replace the process then."""

def build_info() -> BuildInfo:
    """How the module was built."""

class _Faults:
    """Only in the test build (feature `faults`)."""

    def leak(self, nbytes: int) -> None: ...
    def allocate(self, nbytes: int) -> None: ...
    def panic(self) -> None: ...
    def spin(self, cpu_s: float) -> None: ...
    def abort(self) -> None: ...
    def segfault(self) -> None: ...

faults: _Faults
