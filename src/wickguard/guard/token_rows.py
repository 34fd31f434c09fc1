"""Token rows: the tensors `input_ids`, `attention_mask` and `token_type_ids` as rows of token ids.

Decides what of them means something here: masks and types have exactly the shape of the ids, a mask is ones and then padding,
types are zeros. Promises that nothing is built but what the sizes, which come first, have let in. It must not know models'
tasks or prices.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from wickguard.dialect.oip import Tensor
from wickguard.modality import tensor, text
from wickguard.rejection import Reason, Rejection

_ONE = (1).to_bytes(8, "little")


def sizes(inputs: Mapping[str, Tensor]) -> tuple[int, int] | Rejection:
    """(rows, columns) of the ids, when what stands beside them has the same."""
    ids = inputs.get("input_ids")
    if ids is None:
        return Rejection(Reason.MALFORMED, "the token ids are missing", "inputs", accepted="input_ids")
    if len(ids.shape) != 2:
        return wrong_shape("input_ids", ids.shape, (-1, -1))
    for name in ("attention_mask", "token_type_ids"):
        other = inputs.get(name)
        if other is not None and other.shape != ids.shape:
            return wrong_shape(name, other.shape, ids.shape)
    types = inputs.get("token_type_ids")
    if types is not None and types.data.strip(b"\0"):
        return Rejection(
            Reason.UNSUPPORTED_FIELD, "all tokens are of the first type", "token_type_ids", accepted="zeros"
        )
    rows, columns = ids.shape
    return rows, columns


def cut(inputs: Mapping[str, Tensor]) -> list[list[int]] | Rejection:
    """The rows of ids without their padding; `sizes` has let them in."""
    ids, mask = inputs["input_ids"], inputs.get("attention_mask")
    rows, columns = ids.shape
    lengths = [columns] * rows
    if mask is not None:
        found = [_length(mask.data[at : at + columns * 8]) for at in range(0, len(mask.data), columns * 8)]
        if None in found:
            return Rejection(
                Reason.UNSUPPORTED_FIELD, "each row must be ones, at least one, and then zeros", "attention_mask",
                accepted="padding at the end",
            )  # fmt: skip
        lengths = [length for length in found if length is not None]
    whole = tensor.numbers("INT64", ids.data)
    starts = range(0, len(whole), columns)
    cut = [
        [int(value) for value in itertools.islice(whole, start, start + n)]
        for start, n in zip(starts, lengths, strict=True)
    ]
    least = min(map(min, cut))
    return _negative(least) if least < 0 else cut


def whole(inputs: Mapping[str, Tensor], vocab: int) -> bytes | Rejection:
    """The ids of all rows, which have no padding and are below `vocab`, as they came; `sizes` has let them in."""
    ids, mask = inputs["input_ids"], inputs.get("attention_mask")
    if mask is not None and mask.data != _ONE * (len(mask.data) // len(_ONE)):
        return Rejection(
            Reason.UNSUPPORTED_FIELD, "each token sees all before it, and rows have one length: send rows of another "
            "length in another request", "attention_mask", accepted="ones",
        )  # fmt: skip
    values = tensor.numbers("INT64", ids.data)
    least, most = min(values), max(values)
    if least < 0:
        return _negative(least)
    return text.unknown_token(int(most), vocab, "input_ids") if most >= vocab else ids.data


def wrong_shape(name: str, seen: tuple[int, ...], wanted: tuple[int, ...]) -> Rejection:
    """The refusal of a tensor; -1 is a size that the caller chooses."""
    spelled = "x".join("n" if size < 0 else str(size) for size in wanted)
    detail = f"{name} has shape {'x'.join(map(str, seen))}"
    return Rejection(Reason.OUT_OF_ENVELOPE, detail, name, accepted=spelled)


def _length(row: bytes) -> int | None:
    """How many ones a row of a mask has; None unless the rest are zeros."""
    ones = row.count(_ONE)
    return ones if ones and row == _ONE * ones + bytes(len(row) - len(_ONE) * ones) else None


def _negative(seen: float) -> Rejection:
    return Rejection(Reason.OUT_OF_ENVELOPE, "a token id is negative", "input_ids", limit=0, seen=seen)
