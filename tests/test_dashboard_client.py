"""How the dashboard asks the API, and what it says of answers that are late, endless or another service's."""

import functools
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from streamlit.testing.v1 import AppTest

from dashboard import answers, api_client
from dashboard.api_client import ApiError, Failure, ScoringApi
from dashboard.forms.model import ModelHistory
from dashboard.forms.service import Ready
from tests.dashboard_support import page, plain, press, told, unbroken
from tests.other_services import Road, by_version, road_to, says, service
from tests.servers import SocketDoor

pytest_plugins = ["tests.dashboard_fixtures"]

EXAMPLE, DECIDE, AGAIN = "Remplir avec l’exemple", "Demander la décision", "Réessayer"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
BUSY = says('{"error": "Le service est occupé."}'.encode(), 503)


@pytest.fixture
def road(api: SocketDoor) -> Iterator[Road]:
    with road_to(api) as found:
        yield found


# ---- One deadline, one size, one address


def drip(connection: socket.socket, first: bytes) -> None:
    connection.sendall(first)
    while True:
        connection.sendall(b" ")
        time.sleep(0.05)


def never_end(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"\r\n[")
    while True:
        connection.sendall(b"0," * 50_000)


BEHAVIOUR: dict[str, tuple[Callable[[socket.socket], None], Failure]] = {
    "says nothing": (lambda connection: time.sleep(5), Failure.SLOW),
    "drips its head": (lambda connection: drip(connection, b"HTTP/1.1 200 OK\r\nX: "), Failure.SLOW),
    "drips its body": (
        lambda connection: drip(connection, HEAD + b"Content-Length: 999\r\n\r\n"),
        Failure.SLOW,
    ),
    "drips a body without a length": (lambda connection: drip(connection, HEAD + b"\r\n{}"), Failure.SLOW),
    "never ends": (never_end, Failure.OTHER_SERVICE),
    "hangs up": (lambda connection: None, Failure.ABSENT),
    "hangs up in its body": (
        lambda connection: connection.sendall(HEAD + b"Content-Length: 99\r\n\r\n{}"),
        Failure.ABSENT,
    ),
    "speaks something else": (lambda connection: connection.sendall(b"220 mail\r\n"), Failure.OTHER_SERVICE),
    "has no API": (
        lambda connection: connection.sendall(HEAD + b"Content-Length: 4\r\n\r\nhome"),
        Failure.OTHER_SERVICE,
    ),
}


@pytest.mark.parametrize("behaviour", BEHAVIOUR)
def test_what_is_late_endless_or_no_api_is_told_in_time(
    behaviour: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    behave, failure = BEHAVIOUR[behaviour]
    monkeypatch.setattr(api_client, "_SECONDS", 0.5)
    monkeypatch.setattr(api_client, "_MOST_BYTES", 1_000_000)
    started = time.monotonic()

    with service(behave) as url, pytest.raises(ApiError) as caught:
        ScoringApi(url).ready()

    assert time.monotonic() - started < 3
    assert caught.value.failure is failure
    assert caught.value.may_have_acted


def test_a_handshake_that_drips_is_ended_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_client, "_SECONDS", 0.5)
    started = time.monotonic()

    behave = functools.partial(drip, first=b"\x16\x03\x03\x40\x00")
    with service(behave) as url, pytest.raises(ApiError) as caught:
        ScoringApi(url.replace("http:", "https:")).ready()

    assert time.monotonic() - started < 3
    assert caught.value.failure is Failure.SLOW
    assert not caught.value.may_have_acted


@pytest.mark.parametrize(
    "url",
    [
        *("http://127.0.0.1:9", "http://ana:secret@127.0.0.1:9", "ftp://127.0.0.1", "127.0.0.1:5000"),
        *("http://[::1", "http://a b", ""),
    ],
)
def test_where_nobody_answers_nothing_has_been_done(url: str) -> None:
    with pytest.raises(ApiError, match="L’API est injoignable") as caught:
        ScoringApi(url).ready()

    assert not caught.value.may_have_acted
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        b'{"doubt": "half a character: \\uD800", "journal": "off"}',
        b'{"doubt": null, "journal": "off", "more": 1' + b"0" * 400 + b"}",
    ],
    ids=["half a character", "400 digits"],
)
def test_what_no_page_could_show_is_of_another_service(body: bytes) -> None:
    with pytest.raises(answers.OtherForm):
        answers.read(body, Ready)


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_moment_beyond_the_calendar_is_of_another_service(text: str) -> None:
    champion = {"version": "1", "how": "x", "since": text, "until": None, "why": None, "overridden": None}
    body = json.dumps({"card": None, "champions": [champion], "examination": None}).encode()

    with pytest.raises(answers.OtherForm):
        answers.read(body, ModelHistory)


def test_a_client_s_values_follow_no_redirect() -> None:
    followed = threading.Event()
    with service(lambda _: followed.set()) as elsewhere:
        moved = f"HTTP/1.1 307 Moved\r\nLocation: {elsewhere}/predict\r\nContent-Length: 0\r\n\r\n".encode()
        with service(lambda connection: connection.sendall(moved)) as url, pytest.raises(ApiError) as caught:
            ScoringApi(url).decide({"AMT_CREDIT": 1.0}, "")

        assert caught.value.failure is Failure.OTHER_SERVICE
        assert not followed.wait(0.3)


@pytest.mark.parametrize(
    ("token", "reference", "sentence"),
    [
        (
            None,
            "D’Arc",
            "« Référence du client » : écrivez-la en 64 caractères au plus, sans accent ni signe",
        ),
        (None, "x" * 65, "« Référence du client » : écrivez-la en 64 caractères au plus"),
        ("jeton€", "", "Le jeton d’accès saisi contient un signe qu’aucun jeton n’a"),
        ("a\r\nX-Evil: 1", "", "Le jeton d’accès saisi contient un signe qu’aucun jeton n’a"),
    ],
)
def test_what_a_header_cannot_carry_is_one_sentence_and_is_not_sent(
    road: Road, token: str | None, reference: str, sentence: str
) -> None:
    with pytest.raises(ApiError) as caught:
        ScoringApi(road.url, token).decide({}, reference)

    assert plain(str(caught.value)).startswith(sentence)
    assert road.asked == []


def test_blanks_around_a_reference_are_nobody_s(
    api: SocketDoor, documented_request: dict[str, float]
) -> None:
    assert ScoringApi(api.url).decide(documented_request, "  D'Arc ").decision == (
        api.predict(documented_request).content
    )


# ---- Another service


OTHER_JSON = {
    "an empty object": b"{}",
    "a list": b"[]",
    "no schemas": b'{"components": {"schemas": {}}, "paths": {}}',
    "another kind": b'{"components": [], "version": 1, "policy": null, "features": {}, "next": "x"}',
    "deep": b"[" * 100_000,
    "digits": b"9" * 5_000,
    "no number": b'{"probability_class_1": NaN}',
    "no text": b"\xff\xfe",
}
ASKED: dict[str, Callable[[ScoringApi], object]] = {
    "specification": lambda api: api.specification(),
    "ready": lambda api: api.ready(),
    "model": lambda api: api.model(),
    "history": lambda api: api.model_history(),
    "reference": lambda api: api.reference(),
    "clients": lambda api: api.reference_clients(0, 1),
    "neighbours": lambda api: api.neighbours({}),
    "decide": lambda api: api.decide({}, ""),
    "explain": lambda api: api.explain({}),
    "decisions": lambda api: api.past_decisions(),
    "decision": lambda api: api.past_decision("1"),
    "explanation": lambda api: api.past_explanation("1"),
    "review": lambda api: api.review("1", {}),
}


@pytest.mark.parametrize("kind", OTHER_JSON)
def test_json_of_another_form_is_another_service_whatever_was_asked(road: Road, kind: str) -> None:
    road.faults["/"] = says(OTHER_JSON[kind])

    for name, ask in ASKED.items():
        with pytest.raises(ApiError, match="ne répond pas comme l’API") as caught:
            ask(ScoringApi(road.url))
        assert caught.value.failure is Failure.OTHER_SERVICE, name


@pytest.mark.parametrize("name", ["decision", "portfolio", "review", "model"])
def test_every_page_says_that_another_service_answers(
    road: Road, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    road.faults["/"] = says(b'{"components": {"schemas": {}}, "paths": {}}')

    (sentence,) = told(page(road.url, name, monkeypatch))

    assert "ne répond pas comme l’API. Un autre service est-il à cette adresse" in plain(sentence)


def test_a_batch_that_is_no_table_of_decisions_is_one_sentence(
    road: Road, monkeypatch: pytest.MonkeyPatch, documented_request: dict[str, float]
) -> None:
    for body in (b"", b"\xff", b'"', b"a,b\r\n1\r\n", b"prediction,probability_class_1\r\nx,y\r\n"):
        road.faults["/predict/batch"] = says(body)
        shown = page(road.url, "portfolio", monkeypatch)
        content = ",".join(documented_request) + "\n" + ",".join(map(str, documented_request.values()))
        shown = unbroken(shown.file_uploader[0].set_value(("clients", content.encode(), "")).run())

        shown = press(shown, "Décider pour 1 client")

        assert told(shown)[0].startswith("L’API n’a pas rendu une décision pour chaque client"), body


# ---- « Réessayer » asks again


def decided(road: Road, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    return press(press(page(road.url, "decision", monkeypatch), EXAMPLE), DECIDE)


def headings(shown: AppTest) -> list[str]:
    return [one.value for one in shown.markdown if one.value.startswith("## ")]


def test_a_decision_that_was_refused_is_asked_for_again(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    road.faults["/predict"] = BUSY
    shown = decided(road, monkeypatch)
    assert "Le service est occupé. Patientez un instant, puis réessayez." in told(shown)
    assert "est peut-être déjà au journal" in "".join(one.value for one in shown.caption)

    del road.faults["/predict"]
    shown = press(shown, AGAIN)

    assert len(headings(shown)) == 1
    assert not shown.error


@pytest.mark.parametrize("status", [500, 503])
def test_a_part_of_the_page_that_failed_is_asked_for_again_and_no_decision_is(
    road: Road, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    paths = "/explain", "/neighbours"
    road.faults = dict.fromkeys(paths, says(b'{"error": "Une panne."}', status))
    shown = decided(road, monkeypatch)
    _, reasons, others, *_ = shown.tabs
    assert [one.label for tab in (reasons, others) for one in tab.button] == [AGAIN, AGAIN]

    road.faults.clear()
    unbroken(reasons.button[0].click().run())

    _, reasons, others, *_ = shown.tabs
    assert "Pour le crédit" in "".join(one.value for one in reasons.markdown)
    assert "Parmi les 50 clients" in "".join(one.value for one in others.markdown)
    assert sum(one == "POST /predict" for one in road.asked) == 1


# ---- Another version


def test_an_old_decision_stands_in_its_own_words_when_a_version_with_others_comes(
    road: Road, api: SocketDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = decided(road, monkeypatch)
    before = headings(shown)
    described = api.get("/openapi.json").body.decode()
    other = described.replace("Classe_", "Groupe_").replace('"EXT_SOURCE_1"', '"EXT_SOURCE_9"')
    road.faults["/"] = by_version("0" * 64)
    road.faults["/openapi.json"] = says(other.encode())

    shown = unbroken(shown.run())

    assert headings(shown) == [f"{before[0]} — valeurs modifiées"]
    shown = unbroken(shown.select_slider[0].set_value(100_000.0).run())
    assert any("Une autre version du modèle est servie" in one for one in told(shown))


def test_a_decision_by_a_version_that_has_just_come_is_shown_in_its_words(
    road: Road, api: SocketDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = says(api.get("/openapi.json").body.replace(b"Classe_", b"Groupe_"))
    road.faults["/openapi.json"] = lambda forward: (
        forward() if "POST /predict" in road.asked else other(forward)
    )

    shown = decided(road, monkeypatch)

    assert headings(shown) == ["## ● Fiable"]


HERE = IPv4Address("127.0.0.1")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1 with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "here")]), datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "here.pem"
    own = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(own + made.public_bytes(Encoding.PEM))
    return file


def test_a_refusal_before_the_end_of_a_body_is_heard_through_tls_too(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    sentence = b'{"error": "trop"}'

    def refuse_the_first() -> None:
        with context.wrap_socket(listener.accept()[0], server_side=True) as encrypted:
            encrypted.recv(100)
            head = b"HTTP/1.1 503 X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            encrypted.sendall(head % len(sentence) + sentence)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        refusing = threading.Thread(target=refuse_the_first)
        refusing.start()
        api = ScoringApi(f"https://127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(ApiError, match="trop") as caught:
            api.predict_many(bytes(30_000_000), "text/csv", [], with_ids=False)
        refusing.join()

    assert caught.value.failure is Failure.UNAVAILABLE
