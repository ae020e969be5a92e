"""What a receipt and an event hold, and what each commits to."""

import hashlib
import json
import math
import struct
import time
from dataclasses import replace
from pathlib import Path

import pytest

from journal import events, ids, models, receipt, record
from journal.receipt import CannotKeep, Receipt
from journal.record import Kind
from tests import journal_support

MODEL = replace(journal_support.MODEL, features=("A", "B", "C"), columns=journal_support.MODEL.columns[:3])


def receipt_of(**changes: object) -> Receipt:
    kept = {
        "model": MODEL,
        "inputs": (1.5, math.nan, -0.0),
        "outputs": ("Zone grise (incertain)", 0.1 + 0.2, 1 - (0.1 + 0.2)),
        "door": "/predict",
        "request_id": "r-1",
        "caller": "agence",
        "client_reference": "dossier 7",
    }
    return Receipt(**(kept | changes))  # type: ignore[arg-type]


def bits(values: object) -> list[str]:
    return [struct.pack(">d", value).hex() for value in values]  # type: ignore[attr-defined]


# ---- Ids


def test_an_id_is_a_uuid_of_version_7_that_holds_its_millisecond() -> None:
    before = time.time_ns() // 1_000_000
    one = ids.new()

    assert (one[6] >> 4, one[8] >> 6) == (7, 0b10)
    assert before <= int.from_bytes(one[:6]) <= time.time_ns() // 1_000_000
    assert ids.read(ids.written(one)) == one


def test_ids_grow_also_when_the_clock_jumps_back(monkeypatch: pytest.MonkeyPatch) -> None:
    first = [ids.new() for _ in range(10_000)]
    monkeypatch.setattr(ids.time, "time_ns", lambda: 0)
    then = [ids.new() for _ in range(10_000)]

    assert [*first, *then] == sorted({*first, *then})


# ---- Receipts


def test_a_receipt_gives_back_every_bit_of_what_was_decided_on_and_answered() -> None:
    entry = receipt_of(call_id=ids.new()).entry()
    kept = receipt.lasting(MODEL, 1, entry.lasting, entry.subject or b"")
    erasable = receipt.erasable(MODEL, entry.erasable)

    assert (entry.kind, entry.label) == (Kind.RECEIPT, 1)
    assert kept.outputs[0] == "Zone grise (incertain)"
    assert bits(kept.outputs[1:]) == bits((0.1 + 0.2, 1 - (0.1 + 0.2)))
    assert (kept.door, kept.caller, len(kept.call_id)) == ("/predict", "agence", 16)
    assert bits(erasable.inputs) == bits((1.5, math.nan, -0.0))
    assert (erasable.request_id, erasable.client_reference) == ("r-1", "dossier 7")


def test_a_receipt_without_reference_caller_and_call_has_none() -> None:
    entry = receipt_of(caller="", client_reference="").entry()

    assert entry.subject is None
    assert receipt.lasting(MODEL, 1, entry.lasting, b"").caller == ""
    assert receipt.lasting(MODEL, 1, entry.lasting, b"").call_id == b""
    assert receipt.erasable(MODEL, entry.erasable).client_reference == ""


def test_a_receipt_of_the_former_form_still_tells_its_call() -> None:
    call = ids.new()

    assert receipt.lasting(MODEL, 1, receipt_of().entry().lasting + call, b"").call_id == call


@pytest.mark.parametrize(
    "wrong",
    [
        {"inputs": (1.0, 2.0)},
        {"inputs": (1.0, 2.0, "3")},
        {"outputs": ("Classe_2", 0.5, 0.5)},
        {"outputs": ("Classe_1 (risqué)", 0.5)},
        {"door": "d" * 256},
    ],
    ids=["too few inputs", "a text as input", "another model's label", "too few outputs", "a long text"],
)
def test_a_receipt_that_does_not_fit_its_model_is_refused_without_a_value(wrong: dict[str, object]) -> None:
    with pytest.raises(CannotKeep, match=r"not those of the model|more than 255 bytes"):
        receipt_of(**wrong).entry()


def test_a_reference_is_found_at_the_end_of_a_receipt_and_not_a_part_of_it() -> None:
    content = receipt_of().entry().erasable

    assert receipt.ends_with_reference(content, "dossier 7")
    assert not receipt.ends_with_reference(content, "7")
    assert not receipt.ends_with_reference(content, "")


# ---- Events


@pytest.mark.parametrize(
    "event",
    [
        events.Start(journal="scoring-client/1", process="api", code="0.2.0", c_library="glibc 2.36"),
        events.End(),
        events.Served(model=MODEL),
        events.Scored(model=MODEL, input="0a", output="0b", labels={"Classe_0 (fiable)": 3}, set_aside=1),
        events.Review(decision=ids.new(), outcome="accept", reviewer="léa", reason="revenus vérifiés"),
        events.Erasure(by="root", why="RGPD 17", ranges=((3, 3), (5, 9)), decision=ids.new()),
        events.Erasure(by="root", why="10 ans", ranges=((0, 9),)),
        events.Hold(decision=ids.new(), by="root", why="litige"),
        events.Release(decision=ids.new(), by="root", why="jugé"),
        events.Checkpoint(note="origin\n1\nAAA=\n\n— origin AAA=\n"),
    ],
    ids=lambda event: type(event).__name__,
)
def test_an_event_gives_back_what_it_was_told(event: events.Event) -> None:
    assert events.read(event.entry()) == event


def test_the_reason_of_a_review_can_be_erased_and_its_outcome_stays() -> None:
    entry = events.Review(decision=ids.new(), outcome="refuse", reviewer="léa", reason="dettes").entry()

    assert entry.erasable == b"dettes"
    assert json.loads(entry.lasting) == {"outcome": "refuse", "reviewer": "léa"}


# ---- Commitments


def commitment(**changes: object) -> bytes:
    parts = {
        "kind": Kind.RECEIPT,
        "label": 1,
        "writer": 2,
        "sequence": 3,
        "moment": 4,
        "own_id": bytes(15) + b"\1",
        "subject": None,
    }
    content = {"model": MODEL.description_digest, "salted": bytes(32) + b"erasable", "lasting": b"lasting"}
    head = record.head(**({name: changes.get(name, value) for name, value in parts.items()}))  # type: ignore[arg-type]
    model, salted, lasting = (changes.get(name, value) for name, value in content.items())
    return record.commitment(head, model, record.seal(salted), lasting)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        {"kind": Kind.REVIEW},
        {"label": 2},
        {"label": None},
        {"writer": 3},
        {"sequence": 4},
        {"moment": 5},
        {"own_id": bytes(15) + b"\2"},
        {"subject": bytes(15) + b"\2"},
        {"model": replace(MODEL, threshold=0.3).description_digest},
        {"salted": b"\1" + bytes(31) + b"erasable"},
        {"salted": bytes(32) + b"Erasable"},
        {"lasting": b"Lasting"},
    ],
    ids=lambda change: "-".join(change),
)
def test_a_commitment_changes_with_everything_that_a_record_holds(change: dict[str, object]) -> None:
    assert commitment(**change) != commitment()


def test_a_commitment_is_the_hash_that_the_documentation_says() -> None:
    head = struct.pack(">BBBIQq16s16s", 1, 1, 1, 2, 3, 4, bytes(15) + b"\1", bytes(16))
    seal = hashlib.sha256(bytes(32) + b"erasable").digest()
    model = hashlib.sha256(MODEL.description).digest()

    assert commitment() == hashlib.sha256(head + model + seal + b"lasting").digest()


def test_two_records_with_the_same_content_have_different_seals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = journal_support.journal_at(tmp_path, monkeypatch)
    twice = [journal_support.receipt_of(inputs=(1.0, 2.0, 3.0)) for _ in range(2)]

    journal_support.write(twice)

    parts = journal_support.rows(file, "SELECT erasable FROM record WHERE kind = 1")
    first, second = (part for (part,) in parts)
    assert first[record.SALT_BYTES :] == second[record.SALT_BYTES :]
    assert record.seal(first) != record.seal(second)


def test_an_erased_part_keeps_its_length_and_its_seal_and_nothing_else() -> None:
    part = bytes(range(record.SALT_BYTES)) + b"dossier 7"

    assert record.erased(part) == record.seal(part) + bytes(len(b"dossier 7"))


def test_a_model_is_described_in_one_way_and_read_back() -> None:
    assert models.read(MODEL.description) == MODEL
    assert models.read(MODEL.description).description == MODEL.description
