"""Requests that a service must bear, one by one, and what it says of each."""

import gzip
import json
import re
import zlib
from typing import NamedTuple

from tests.servers import JSON, Answer

GOOD = b"""{"AMT_ANNUITY": 15000, "AMT_CREDIT": 200000, "AMT_GOODS_PRICE": 180000, "CREDIT_TERM": 60,
 "DAYS_BIRTH": -12000, "DAYS_ID_PUBLISH": -3000, "DAYS_REGISTRATION": -4000, "EXT_SOURCE_1": 0.5,
 "EXT_SOURCE_2": 0.7, "EXT_SOURCE_3": 0.6, "DEBT_CREDIT_RATIO": 0.3, "ANNUITY_BIRTH_RATIO": 0.02,
 "ANNUITY_INCOME_PERCENT": 0.1, "CREDIT_GOODS_RATIO": 1.1, "INSTA_AMT_PAYMENT": 10000,
 "INSTA_NUM_INSTALMENT_VERSION": 3, "POS_CNT_INSTALMENT_FUTURE": 2}"""
LIMIT = 64 * 1024

BAD = "Erreur lors du traitement des données : "
MALFORMED = BAD + "le corps de la requête n’est pas un JSON valide"
NOT_UTF8 = BAD + "le corps de la requête n’est pas encodé en UTF-8"
NOT_AN_OBJECT = BAD + "le corps de la requête doit être un objet JSON"
TOO_DEEP = BAD + "le corps de la requête dépasse 100 niveaux d’imbrication"
TOO_LARGE = BAD + "le corps de la requête dépasse la limite de 64 Kio"
CREDIT = BAD + "la feature 'AMT_CREDIT' "
NOT_FINITE = CREDIT + "doit être un nombre fini, dans la plage des doubles"
INEXACT = CREDIT + "est un entier trop grand pour être représenté exactement"
NAN = BAD + "la clé 'AMT_CREDIT' porte NaN ou Infinity, qui ne sont pas du JSON"
NAN_ELSEWHERE = BAD + "la clé porte NaN ou Infinity, qui ne sont pas du JSON"
TWICE = BAD + "la clé 'AMT_CREDIT' apparaît plusieurs fois"
TWICE_ELSEWHERE = BAD + "la clé apparaît plusieurs fois"
NO_CREDIT = "Features manquantes : ['AMT_CREDIT']"
NOTHING = (
    "Features manquantes : ['AMT_ANNUITY', 'AMT_CREDIT', 'AMT_GOODS_PRICE', 'CREDIT_TERM', 'DAYS_BIRTH', "
    "'DAYS_ID_PUBLISH', 'DAYS_REGISTRATION', 'EXT_SOURCE_1', 'EXT_SOURCE_2', 'EXT_SOURCE_3', "
    "'DEBT_CREDIT_RATIO', 'ANNUITY_BIRTH_RATIO', 'ANNUITY_INCOME_PERCENT', 'CREDIT_GOODS_RATIO', "
    "'INSTA_AMT_PAYMENT', 'INSTA_NUM_INSTALMENT_VERSION', 'POS_CNT_INSTALMENT_FUTURE']"
)
NOT_JSON = BAD + "le type de contenu doit être application/json"
COMPRESSED = BAD + "le corps de la requête ne doit pas être compressé (Content-Encoding)"
UNKNOWN = "Chemin inconnu : consultez GET /docs."
POST_ONLY = "Méthode non autorisée : utilisez POST."
REFUSED = "Requête HTTP refusée : consultez GET /docs."
SAME, OTHER, ANY = "the documented request's decision", "another decision", ""


class Request(NamedTuple):
    """One request, its status, and its sentence; for a decision, whether it is the documented request's."""

    status: int
    sentence: str
    body: bytes | None = GOOD
    headers: dict[str, str] = JSON
    path: str = "/predict"
    method: str = "POST"


def credit(value: str) -> bytes:
    """The documented request with these characters for the credit."""
    return GOOD.replace(b"200000", value.encode())


def renamed(key: str) -> bytes:
    """The documented request with these characters for the name of the credit."""
    return GOOD.replace(b'"AMT_CREDIT"', key.encode())


def plus(members: str | bytes) -> bytes:
    """The documented request with these characters for more members."""
    return GOOD[:-1] + b", " + (members if isinstance(members, bytes) else members.encode()) + b"}"


def typed(content_type: str) -> dict[str, str]:
    return {"Content-Type": content_type}


def encoded(encoding: str) -> dict[str, str]:
    return JSON | {"Content-Encoding": encoding}


NULLS = re.sub(rb": [-\d.]+", b": null", GOOD)

MALFORMED_JSON = {
    "empty body": b"",
    "no body": None,
    "only spaces": b" \t\r\n ",
    "only a brace": b"{",
    "truncated in a key": GOOD[:60],
    "truncated in a number": GOOD[:20],
    "without the last brace": GOOD[:-1],
    "two last braces": GOOD + b"}",
    "trailing comma": GOOD[:-1] + b",}",
    "trailing comma in an array": plus('"x": [1,]'),
    "leading comma": b"{," + GOOD[1:],
    "two commas": GOOD.replace(b", ", b",, ", 1),
    "no comma": GOOD.replace(b", ", b" ", 1),
    "no colon": GOOD.replace(b": ", b" ", 1),
    "equals for colon": GOOD.replace(b": ", b"= ", 1),
    "mismatched brackets": plus('"x": [1}'),
    "line comment": b"// DUPONT\n" + GOOD,
    "block comment": b"/* DUPONT */" + GOOD,
    "hash comment": b"# DUPONT\n" + GOOD,
    "single quotes": GOOD.replace(b'"', b"'"),
    "unquoted key": renamed("AMT_CREDIT"),
    "typographic quotes": renamed("“AMT_CREDIT”"),
    "unquoted text": credit("DUPONT"),
    "unfinished string": credit('"DUPONT'),
    "byte order mark": b"\xef\xbb\xbf" + GOOD,
    "UTF-16 without mark": GOOD.decode().encode("utf-16-le"),
    "UTF-32 without mark": GOOD.decode().encode("utf-32-be"),
    "newline in a string": plus('"nom": "DU\nPONT"'),
    "tab in a string": plus('"nom": "DU\tPONT"'),
    "NUL in a string": plus('"nom": "DU\0PONT"'),
    "escape character in a key": plus('"\x1b[31mDUPONT": 1'),
    "NUL after the document": GOOD + b"\0",
    "NUL before the document": b"\0" + GOOD,
    "vertical tab for space": b"\v" + GOOD,
    "no-break space": "\u00a0".encode() + GOOD,
    "line separator": "\u2028".encode() + GOOD,
    "hexadecimal escape": plus(r'"nom": "\x41"'),
    "short unicode escape": plus(r'"nom": "\u12"'),
    "escape of nothing": plus('"nom": "DUPONT\\"'),
    "leading zero": credit("0987654"),
    "minus and leading zero": credit("-0987654"),
    "plus sign": credit("+987654"),
    "two minus signs": credit("--987654"),
    "minus and space": credit("- 987654"),
    "only minus": credit("-"),
    "no digit before the point": credit(".987654"),
    "no digit after the point": credit("987654."),
    "no digit in the exponent": credit("987654e"),
    "half an exponent": credit("987654e+"),
    "decimal comma": credit("987654,25"),
    "thousands space": credit("987 654"),
    "underscore": credit("987_654"),
    "hexadecimal number": credit("0x98765"),
    "octal number": credit("0o17"),
    "binary number": credit("0b1"),
    "number with a suffix": credit("987654f"),
    "arabic digits": credit("٩٨٧"),
    "full-width digits": credit("９８７"),
    "no value": credit(""),
    "nan in lower case": credit("nan"),
    "inf": credit("inf"),
    "python's None": credit("None"),
    "python's True": credit("True"),
    "capital NULL": credit("NULL"),
    "undefined": credit("undefined"),
    "function call": credit("__import__('os')"),
    "two documents": GOOD + GOOD,
    "two lines of documents": GOOD + b"\n" + GOOD,
    "document and text": GOOD + b" DUPONT",
    "callback": b"DUPONT(" + GOOD + b")",
    "anti-hijacking prefix": b")]}',\n" + GOOD,
    "form": b"AMT_CREDIT=987654&nom=DUPONT",
    "XML": b"<client><AMT_CREDIT>987654</AMT_CREDIT></client>",
    "YAML": b"AMT_CREDIT: 987654\nnom: DUPONT\n",
    "template": credit("{{ 987654 }}"),
}

NOT_TEXT = {
    "UTF-16 with mark": GOOD.decode().encode("utf-16"),
    "Latin-1": plus('"nom": "DUPONT né"'.encode("latin-1")),
    "overlong": plus(b'"nom": "\xc0\x80"'),
    "surrogate in UTF-8": plus(b'"nom": "\xed\xa0\x80"'),
    "beyond unicode": plus(b'"nom": "\xf4\x90\x80\x80"'),
    "truncated character": plus(b'"nom": "\xe2\x82"'),
    "gzip without saying so": gzip.compress(GOOD, mtime=0),
    "random bytes": bytes(range(256)),
    "pickle": b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x07987654A\x94.",
}

NOT_OBJECTS = {
    "array of a request": b"[" + GOOD + b"]",
    "empty array": b"[]",
    "array of numbers": b"[987654, 1]",
    "string": b'"DUPONT"',
    "request in a string": json.dumps(GOOD.decode()).encode(),
    "number": b"987654",
    "zero": b"0",
    "minus zero": b"-0",
    "5000 digits": b"9" * 5000,
    "null": b"null",
    "true": b"true",
    "false": b"false",
    "NaN alone": b"NaN",
    "100 arrays": b"[" * 100 + b"]" * 100,
}

DEEP = {
    "101 arrays": b"[" * 101 + b"]" * 101,
    "101 levels in an extra key": plus('"x": ' + "[" * 100 + "]" * 100),
    "101 objects in an extra key": plus('"x": ' + '{"y":' * 100 + "1" + "}" * 100),
    "1000 levels": plus('"x": ' + "[" * 999 + "]" * 999),
    "20000 levels": plus('"x": ' + "[" * 20_000 + "]" * 20_000),
    "60000 open arrays": b"[" * 60_000,
    "10000 open objects": b'{"x":' * 10_000,
    "deep behind a string of brackets": plus('"x": "]]]]\\"]]]]", "y": ' + "[" * 100 + "]" * 100),
}

VALUES = {
    "text": ('"DUPONT"', CREDIT + "doit être un nombre, et non un texte"),
    "number as text": ('"987654"', CREDIT + "doit être un nombre, et non un texte"),
    "empty text": ('""', CREDIT + "doit être un nombre, et non un texte"),
    "NaN as text": ('"NaN"', CREDIT + "doit être un nombre, et non un texte"),
    "true value": ("true", CREDIT + "doit être un nombre, et non un booléen"),
    "false value": ("false", CREDIT + "doit être un nombre, et non un booléen"),
    "list": ("[987654]", CREDIT + "doit être un nombre, et non une liste"),
    "empty list": ("[]", CREDIT + "doit être un nombre, et non une liste"),
    "object": ('{"nom": "DUPONT"}', CREDIT + "doit être un nombre, et non un objet"),
    "empty object": ("{}", CREDIT + "doit être un nombre, et non un objet"),
    "null not learnt": ("null", CREDIT + "ne peut pas être null : le modèle n’a appris"),
    "1e400": ("1e400", NOT_FINITE),
    "-1e400": ("-1e400", NOT_FINITE),
    "987654e999999999": ("987654e999999999", NOT_FINITE),
    "10 to the 309": ("1" + "0" * 309, NOT_FINITE),
    "minus 10 to the 400": ("-1" + "0" * 400, NOT_FINITE),
    "5000 nines": ("9" * 5000, NOT_FINITE),
    "60000 nines": ("9" * 60_000, NOT_FINITE),
    "60000 nines and a half": ("9" * 60_000 + ".5", NOT_FINITE),
    "25 digits": ("9876543210987654321098765", INEXACT),
    "2 to the 53 plus 1": ("9007199254740993", INEXACT),
    "minus 2 to the 53 minus 1": ("-9007199254740993", INEXACT),
    "NaN": ("NaN", NAN),
    "Infinity": ("Infinity", NAN),
    "-Infinity": ("-Infinity", NAN),
    "NaN in a list": ("[987654, NaN]", NAN),
}

BAD_OBJECTS = {
    "NaN in an extra key": (plus('"DUPONT": NaN'), NAN_ELSEWHERE),
    "NaN in an extra list": (plus('"x": [1, [NaN]]'), NAN_ELSEWHERE),
    "NaN in an extra object": (plus('"x": {"DUPONT": -Infinity}'), NAN_ELSEWHERE),
    "feature twice": (plus('"AMT_CREDIT": 987654'), TWICE),
    "feature twice alike": (plus('"AMT_CREDIT": 200000'), TWICE),
    "feature twice, once escaped": (plus(r'"\u0041MT_CREDIT": 987654'), TWICE),
    "feature three times": (plus('"AMT_CREDIT": 1, "AMT_CREDIT": 2'), TWICE),
    "extra key twice": (plus('"DUPONT": 1, "DUPONT": 1'), TWICE_ELSEWHERE),
    "extra key twice, once escaped": (plus(r'"DUPONT": 1, "DUP\u004fNT": 1'), TWICE_ELSEWHERE),
    "key twice in an extra object": (plus('"x": {"DUPONT": 1, "DUPONT": 2}'), TWICE_ELSEWHERE),
    "key twice in a list's object": (plus('"x": [{"DUPONT": 1, "DUPONT": 2}]'), TWICE_ELSEWHERE),
    "empty key twice": (plus('"": 1, "": 1'), TWICE_ELSEWHERE),
    "all null": (NULLS, BAD + "la feature 'AMT_ANNUITY' ne peut pas être null"),
    "empty object": (b"{}", NOTHING),
    "only extra keys": (b'{"DUPONT": 987654}', NOTHING),
    "features in an inner object": (b'{"client": ' + GOOD + b"}", NOTHING),
    "features in a list": (b'{"instances": [' + GOOD + b"]}", NOTHING),
    "MLflow's own form": (b'{"dataframe_split": {"columns": ["DUPONT"], "data": [[987654]]}}', NOTHING),
    "one absent": (renamed('"DUPONT"'), NO_CREDIT),
    "lower case": (renamed('"amt_credit"'), f"{NO_CREDIT} (AMT_CREDIT trouvé comme amt_credit)"),
    "space before the name": (renamed('" AMT_CREDIT"'), f"{NO_CREDIT} (AMT_CREDIT trouvé comme ␣AMT_CREDIT)"),
    "space after the name": (renamed('"AMT_CREDIT "'), f"{NO_CREDIT} (AMT_CREDIT trouvé comme AMT_CREDIT␣)"),
    "NUL after the name": (renamed(r'"AMT_CREDIT\u0000"'), NO_CREDIT),
    "cyrillic A in the name": (renamed('"АMT_CREDIT"'), NO_CREDIT),
    "zero-width space in the name": (renamed('"AMT_\u200bCREDIT"'), NO_CREDIT),
    "escaped backslash in the name": (renamed(r'"\\u0041MT_CREDIT"'), NO_CREDIT),
}

UNUSUAL_BUT_VALID = {
    "spaces, tabs and lines": (b"\r\n\t " + GOOD.replace(b":", b" \t:\r\n ") + b" \n", SAME),
    "no spaces": (re.sub(rb"\s", b"", GOOD), SAME),
    "exponent": (credit("2e5"), SAME),
    "exponent with signs": (credit("+20000000E-2"[1:]), SAME),
    "many zeros": (credit("200000." + "0" * 1000), SAME),
    "escaped name": (renamed(r'"\u0041\u004d\u0054_CREDIT"'), SAME),
    "other order": (json.dumps(dict(reversed(json.loads(GOOD).items()))).encode(), SAME),
    "zero": (credit("0"), ANY),
    "minus zero": (credit("-0"), ANY),
    "minus zero point zero": (credit("-0.0"), ANY),
    "smallest double": (credit("5e-324"), ANY),
    "less than the smallest double": (credit("1e-400"), ANY),
    "largest double": (credit("1.7976931348623157e308"), ANY),
    "2 to the 53": (credit("9007199254740992"), ANY),
    "1000 digits after the point": (credit("0." + "9" * 1000), ANY),
    "null where it is learnt": (GOOD.replace(b'"EXT_SOURCE_1": 0.5', b'"EXT_SOURCE_1": null'), ANY),
    "extra text": (plus('"nom": "DUPONT"'), SAME),
    "extra null": (plus('"x": null'), SAME),
    "extra number out of range": (plus('"x": 1e400, "y": -1e400'), SAME),
    "extra long integer": (plus('"x": ' + "9" * 10_000), SAME),
    "extra empty key": (plus('"": 987654'), SAME),
    "extra key of 30000 characters": (plus('"' + "DUPONT" * 5000 + '": 1'), SAME),
    "2000 extra keys": (plus(", ".join(f'"x{number}": {number}' for number in range(2000))), SAME),
    "extra unicode": (plus('"né": "💶 \u2028 \ufeff"'), SAME),
    "extra surrogate pair": (plus(r'"x": "\ud83d\udcb6"'), SAME),
    "extra lone surrogate": (plus(r'"\ud800": "\udc00"'), SAME),
    "extra escaped NUL": (plus(r'"x\u0000": "\u0000"'), SAME),
    "extra DEL": (plus('"x": "\x7f"'), SAME),
    "100 levels": (plus('"x": ' + "[" * 99 + "]" * 99), SAME),
    "1000 brackets in a string": (plus('"x": "' + "[{" * 1000 + '"'), SAME),
    "brackets behind an escaped quote": (plus('"x": "\\"' + "[" * 1000 + '"'), SAME),
    "brackets behind escaped backslashes": (plus('"x\\\\": "' + "[" * 1000 + '\\\\"'), SAME),
    "1000 arrays side by side": (plus('"x": [' + ", ".join(["[]"] * 1000) + "]"), SAME),
    "another margin": (plus('"margin": 0.2, "params": {"margin": 0.2}'), SAME),
    "another threshold": (plus('"optimal_threshold": 0.99, "threshold": 0.99'), SAME),
    "python's attributes": (plus('"__class__": "DUPONT", "__proto__": {"x": 1}'), SAME),
    "the limit": (GOOD.ljust(LIMIT), SAME),
}

HEADERS = {
    "no content type": ({}, 415, NOT_JSON),
    "empty content type": (typed(""), 415, NOT_JSON),
    "text": (typed("text/plain"), 415, NOT_JSON),
    "form type": (typed("application/x-www-form-urlencoded"), 415, NOT_JSON),
    "multipart": (typed("multipart/form-data; boundary=DUPONT"), 415, NOT_JSON),
    "multipart without boundary": (typed("multipart/form-data"), 415, NOT_JSON),
    "text json": (typed("text/json"), 415, NOT_JSON),
    "json lines": (typed("application/jsonl"), 415, NOT_JSON),
    "problem json": (typed("application/problem+json"), 415, NOT_JSON),
    "json and text": (typed("application/json, text/plain"), 415, NOT_JSON),
    "json with a space": (typed("application/ json"), 415, NOT_JSON),
    "json as a parameter": (typed("text/plain; type=application/json"), 415, NOT_JSON),
    "unknown type with a name": (typed("DUPONT/987654"), 415, NOT_JSON),
    "json in mixed case": (typed("Application/JSON"), 200, SAME),
    "json with a charset": (typed("application/json; charset=utf-8"), 200, SAME),
    "json with another charset": (typed("application/json; charset=latin-1"), 200, SAME),
    "json with an empty parameter": (typed("application/json;"), 200, SAME),
    "json with a space before the parameter": (typed("application/json ; charset=utf-8"), 200, SAME),
    "gzip": (encoded("gzip"), 415, COMPRESSED),
    "deflate": (encoded("deflate"), 415, COMPRESSED),
    "brotli": (encoded("br"), 415, COMPRESSED),
    "identity and gzip": (encoded("identity, gzip"), 415, COMPRESSED),
    "unknown encoding": (encoded("DUPONT"), 415, COMPRESSED),
    "identity": (encoded("identity"), 200, SAME),
    "identity in capitals": (encoded("IDENTITY"), 200, SAME),
    "empty encoding": (encoded(""), 200, SAME),
    "method override": (JSON | {"X-HTTP-Method-Override": "DELETE"}, 200, SAME),
    "path override": (JSON | {"X-Original-URL": "/DUPONT", "X-Rewrite-URL": "/DUPONT"}, 200, SAME),
    "forwarded": (JSON | {"X-Forwarded-Prefix": "/x", "X-Forwarded-Host": "DUPONT"}, 200, SAME),
    "wants HTML": (JSON | {"Accept": "text/html"}, 200, SAME),
    "wants nothing we have": (JSON | {"Accept": "image/png", "Accept-Charset": "utf-16"}, 200, SAME),
    "wants gzip": (JSON | {"Accept-Encoding": "gzip"}, 200, SAME),
    "range": (JSON | {"Range": "bytes=0-1", "If-None-Match": "*"}, 200, SAME),
    "strange host": (JSON | {"X-Host": "DUPONT", "Referer": "http://DUPONT/?AMT_CREDIT=987654"}, 200, SAME),
    "credentials": (JSON | {"Authorization": "Basic RFVQT05U", "Cookie": "session=987654"}, 200, SAME),
    "long header": (JSON | {"X-Client": "DUPONT" * 5000}, 200, SAME),
}

LARGE = {
    "one byte over the limit": GOOD.ljust(LIMIT + 1),
    "one megabyte of nothing": b" " * 2**20,
    "one megabyte of arrays": b"[" * 2**20,
    "one megabyte of digits": b"9" * 2**20,
}

PLACES = {
    "query with values": ("POST", "/predict?AMT_CREDIT=987654&nom=DUPONT", 200, SAME),
    "query with columns to keep": ("POST", "/predict?keep=AMT_CREDIT&keep=nom", 200, SAME),
    "query with a margin": ("POST", "/predict?margin=0.2", 200, SAME),
    "query with a method": ("POST", "/predict?_method=DELETE", 200, SAME),
    "percent-encoded path": ("POST", "/%70redict", 200, SAME),
    "two slashes in the middle": ("POST", "/predict//batch", 404, UNKNOWN),
    "encoded slash": ("POST", "/%2Fpredict", 404, UNKNOWN),
    "trailing slash": ("POST", "/predict/", 404, UNKNOWN),
    "capitals": ("POST", "/Predict", 404, UNKNOWN),
    "extension": ("POST", "/predict.json", 404, UNKNOWN),
    "trailing space": ("POST", "/predict%20", 404, UNKNOWN),
    "NUL in the path": ("POST", "/predict%00", 404, UNKNOWN),
    "newline in the path": ("POST", "/predict%0d%0aX: 1".replace(" ", "%20"), 404, UNKNOWN),
    "invalid UTF-8 in the path": ("POST", "/predict%ff", 404, UNKNOWN),
    "client in the path": ("POST", "/predict/DUPONT-987654", 404, UNKNOWN),
    "MLflow's path": ("POST", "/invocations", 404, UNKNOWN),
    "parent folder": ("GET", "/../api/app.py", 404, UNKNOWN),
    "encoded parent folder": ("GET", "/%2e%2e%2fapi%2fapp.py", 404, UNKNOWN),
    "template": ("GET", "/templates/index.html", 404, UNKNOWN),
    "static file": ("GET", "/static/app.py", 404, UNKNOWN),
    "debugger": ("GET", "/console", 404, UNKNOWN),
    "debugger's resource": ("GET", "/console?__debugger__=yes&cmd=resource&f=style.css", 404, UNKNOWN),
    "secrets": ("GET", "/.env", 404, UNKNOWN),
    "icon": ("GET", "/favicon.ico", 404, UNKNOWN),
    "4000 characters": ("GET", "/" + "DUPONT" * 700, 404, UNKNOWN),
    "markup in the path": ("GET", "/%3Cscript%3EDUPONT%3C/script%3E", 404, UNKNOWN),
    "GET": ("GET", "/predict", 405, POST_ONLY),
    "GET with values": ("GET", "/predict?AMT_CREDIT=987654", 405, POST_ONLY),
    "PUT": ("PUT", "/predict", 405, POST_ONLY),
    "PATCH": ("PATCH", "/predict", 405, POST_ONLY),
    "DELETE": ("DELETE", "/predict", 405, POST_ONLY),
    "OPTIONS": ("OPTIONS", "/predict", 405, POST_ONLY),
    "TRACE": ("TRACE", "/predict", 405, POST_ONLY),
    "CONNECT": ("CONNECT", "/predict", 405, POST_ONLY),
    "PROPFIND of nothing": ("PROPFIND", "/nothing", 404, UNKNOWN),
}

REQUESTS: dict[str, Request] = {
    **{f"malformed: {name}": Request(400, MALFORMED, body) for name, body in MALFORMED_JSON.items()},
    **{f"not text: {name}": Request(400, NOT_UTF8, body) for name, body in NOT_TEXT.items()},
    **{f"not an object: {name}": Request(400, NOT_AN_OBJECT, body) for name, body in NOT_OBJECTS.items()},
    **{f"deep: {name}": Request(400, TOO_DEEP, body) for name, body in DEEP.items()},
    **{f"value: {name}": Request(400, said, credit(value)) for name, (value, said) in VALUES.items()},
    **{f"object: {name}": Request(400, said, body) for name, (body, said) in BAD_OBJECTS.items()},
    **{f"valid: {name}": Request(200, said, body) for name, (body, said) in UNUSUAL_BUT_VALID.items()},
    **{f"large: {name}": Request(413, TOO_LARGE, body) for name, body in LARGE.items()},
    **{
        f"header: {name}": Request(status, said, GOOD, headers)
        for name, (headers, status, said) in HEADERS.items()
    },
    "header: gzip, and gzip it is": Request(415, COMPRESSED, gzip.compress(GOOD, mtime=0), encoded("gzip")),
    "header: deflate, and deflate it is": Request(415, COMPRESSED, zlib.compress(GOOD), encoded("deflate")),
    **{
        f"place: {name}": Request(status, said, GOOD if method == "POST" else None, JSON, path, method)
        for name, (method, path, status, said) in PLACES.items()
    },
}


def said(answer: Answer, usual: Answer) -> str:
    """The sentence of a refusal; of a decision, whether it is the documented request's."""
    if answer.status != 200:
        return answer.error
    return SAME if answer.body == usual.body else OTHER
