"""Secrets stay out of what is written: by name, by value, in any spelling."""

import csv
import html
import io
import json
import logging
import re
import shlex
import sys
import threading
from enum import Enum
from urllib.parse import quote, quote_plus, urlencode
from xml.sax.saxutils import escape, quoteattr

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etlkit.masking import MIN_LENGTH, STARS, MaskedStream, Masker, spellings, worth_hiding

SECRET = "hunter/22 'é\"\\&<>\n#%+$[x]*~"


@pytest.fixture
def masker():
    masker = Masker()
    masker.mask_secret(SECRET)
    masker.mask_secret("hunter22")
    return masker


def as_csv(text):
    file = io.StringIO()
    csv.writer(file).writerow([text, "x"])
    return file.getvalue()


def as_sql(text):
    return "'" + text.replace("'", "''") + "'"


SPELLERS = {
    "itself": str,
    "repr": repr,
    "repr of repr": lambda text: repr(repr(text)),
    "ascii": ascii,
    "json": json.dumps,
    "json with letters": lambda text: json.dumps(text, ensure_ascii=False),
    "json in json": lambda text: json.dumps(json.dumps({"p": text})),
    "url path": quote,
    "url part": lambda text: quote(text, safe=""),
    "url query": lambda text: urlencode({"p": text}),
    "url quoted twice": lambda text: quote(quote_plus(text)),
    "sqlalchemy": lambda text: quote(text, safe=" +"),
    "html": html.escape,
    "html text": lambda text: html.escape(text, quote=False),
    "xml": escape,
    "xml attribute": lambda text: quoteattr(text, {'"': "&quot;"}),
    "shell": shlex.quote,
    "regular expression": re.escape,
    "sql": as_sql,
    "csv": as_csv,
    "one line": lambda text: " ".join(text.split()),
}


@pytest.mark.parametrize("spell", [pytest.param(spell, id=name) for name, spell in SPELLERS.items()])
def test_a_secret_is_found_in_every_spelling(masker, spell):
    text = f"before {spell(SECRET)} after"
    shown = masker.mask(text)
    assert STARS in shown
    assert "hunter" not in shown
    assert "[x]" not in shown
    assert shown.startswith("before ")
    assert shown.endswith(" after")


@given(st.text(min_size=MIN_LENGTH, max_size=30), st.sampled_from(sorted(SPELLERS)))
def test_any_secret_in_any_spelling(secret, how):
    masker = Masker()
    try:
        spelled = SPELLERS[how](secret)
    except UnicodeEncodeError:  # half of a surrogate pair is no text for a URL
        return
    masker.mask_secret(secret)
    assert re.search(spellings(secret.strip()), spelled)
    if worth_hiding(secret.strip()):
        assert masker.mask(spelled) != spelled


def test_short_and_common_values_are_not_looked_for():
    masker = Masker()
    masker.mask_secret(["abcd", "airflow", "Airflow", ""])
    assert masker.mask("abcd airflow Airflow") == "abcd airflow Airflow"


def test_the_longer_of_two_secrets_is_hidden_whole():
    masker = Masker()
    masker.mask_secret(["hunter", "hunter22", "22-and-more"])
    assert masker.mask("hunter22 hunter 22-and-more") == "*** *** ***"
    assert masker.redact("hunter22") == "***"


def test_each_line_of_a_secret_is_hidden():
    masker = Masker()
    masker.mask_secret("-----BEGIN KEY-----\nMIIEvQIBADANBg\r\n  kqhkiG9w0BAQ\nxy\n")
    assert masker.mask("log: kqhkiG9w0BAQ\nlog: MIIEvQIBADANBg, xy") == "log: ***\nlog: ***, xy"


def test_a_secret_read_from_a_file_with_its_line_end():
    masker = Masker()
    masker.mask_secret("hunter22\n")
    assert masker.mask("password=hunter22;") == "password=***;"


def test_registering_by_name():
    masker = Masker()
    masker.mask_secret("visible", "user")
    masker.mask_secret("secret-1", "db-password")
    masker.mask_secret({"token": "secret-2", "host": "example", "deep": {"api_key": ["secret-3"]}})
    assert masker.mask("visible secret-1 secret-2 example secret-3") == "visible *** *** example ***"
    masker.forget()
    assert masker.mask("secret-1") == "secret-1"


def test_learning_is_stricter_than_registering():
    config = {"secret_config": {"user": "annabel", "pin": 12345678, "on": True, "hosts": ["alpha", "omega"]}}
    masker = Masker()
    masker.mask_secret(config)
    assert masker.mask("annabel 12345678 alpha") == "annabel 12345678 alpha"
    masker.learn(config)
    assert masker.mask("annabel 12345678 alpha omega True") == "*** *** *** *** True"
    masker.learn({"a": "plain1"}, "password")
    assert masker.mask("plain1") == "***"


def test_masked_goes_deeper_than_redact(masker):
    class Key(Enum):
        A = "hunter22"

    value = "hunter22 and " + quote(SECRET)
    for _ in range(50):
        value = [{"x": value}]
    assert "hunter22" in str(masker.redact(value))
    assert "hunter" not in str(masker.masked(value))
    assert masker.masked({"password": Key.A, "n": frozenset({"hunter22"})}) == {"password": "***", "n": {"***"}}
    assert masker.masked({"token": None, "pin_token": 1234, "ok": 1, "b": b"x"}) == {
        "token": None,
        "pin_token": "***",
        "ok": 1,
        "b": b"x",
    }


def test_a_value_that_contains_itself_is_not_shown(masker):
    endless = ["hunter22"]
    endless.append(endless)
    assert masker.redact(endless) == "<redaction-failed>"
    assert masker.masked({"x": endless}) == "<redaction-failed>"


JSON = st.recursive(
    st.text() | st.integers() | st.none() | st.booleans() | st.just("x hunter22"),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["user", "password", "tokens"]), inner),
    max_leaves=10,
)


@given(JSON)
def test_putting_back_what_was_hidden_and_not_edited_changes_nothing(value):
    masker = Masker()
    assert masker.merge(masker.redact(value), value, max_depth=100) == value
    masker.mask_secret("hunter22")
    assert masker.unmasked(masker.masked(value), value) == value


def test_putting_back_what_was_hidden_keeps_edits(masker):
    old = {"users": [{"name": "anna", "tokens": ["a", 2]}, {"note": "see hunter22"}], "password": {"x": 1}}
    new = masker.masked(old)
    assert new == {"users": [{"name": "anna", "tokens": ["***", "***"]}, {"note": "see ***"}], "password": {"x": "***"}}
    new["users"][0].update(name="eva", tokens=["***", "new", "newer"])
    new["users"].append({"token": "***"})
    new["password"]["y"] = "z"
    assert masker.unmasked(new, old) == {
        "users": [{"name": "eva", "tokens": ["a", "new", "newer"]}, {"note": "see hunter22"}, {"token": "***"}],
        "password": {"x": 1, "y": "z"},
    }


# --- log records, streams, tracebacks ---


@pytest.fixture
def logger(masker):
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(message)s|%(extra)s", defaults={"extra": ""}))
    handler.addFilter(masker)
    logger = logging.Logger("test")
    logger.addHandler(handler)
    logger.written = stream.getvalue
    return logger


def test_log_records(logger):
    logger.warning("%s and %r", "hunter22", {"p": SECRET}, extra={"extra": ["hunter22"]})
    assert logger.written() == "*** and {'p': '***'}|['***']\n"


def test_log_records_with_a_traceback(logger):
    try:
        raise ValueError("hunter22") from KeyError(SECRET)
    except ValueError:
        logger.exception("failed with hunter22", stack_info=True)
    assert "hunter" not in logger.written()
    assert "KeyError: '***'" in logger.written()
    assert "ValueError: ***" in logger.written()


def test_log_records_that_do_not_fit_their_arguments(logger, capsys):
    secret = "hunter" + "22"
    logger.warning("%d", secret)
    assert "hunter22" not in logger.written() + capsys.readouterr().err


def test_log_records_are_left_alone_without_secrets():
    record = logging.LogRecord("x", logging.INFO, __file__, 1, "%s", ("hello",), None)
    assert Masker().filter(record)
    assert (record.msg, record.args) == ("%s", ("hello",))


def test_a_stream(masker, capsys):
    stream = MaskedStream(sys.stdout, masker.mask)
    print("password:", "hunter22", file=stream, flush=True)
    stream.writelines(["hunter22\n", "x\n"])
    assert stream.write("hunter22") == 8
    assert capsys.readouterr().out == "password: ***\n***\nx\n***"
    assert stream.encoding == sys.stdout.encoding


def test_tracebacks_of_uncaught_exceptions(masker, capsys):
    class Unprintable(Exception):
        def __str__(self):
            raise RuntimeError("hunter22")

    for error in (ValueError(f"cannot reach {SECRET}"), Unprintable("hunter22")):
        try:
            raise error
        except Exception as caught:
            masker.excepthook(type(caught), caught, caught.__traceback__)
    shown = capsys.readouterr().err
    assert "ValueError: cannot reach ***" in shown
    assert "Unprintable" in shown
    assert "hunter" not in shown.replace('"hunter22"', "")  # the line of this file that raises shows its own text


def test_threads_may_register_while_others_mask():
    masker, failures = Masker(), []

    def register(name):
        for i in range(200):
            secret = f"{name}-{i:05}"
            masker.mask_secret(secret)
            if masker.mask(secret) != "***":
                failures.append(secret)

    threads = [threading.Thread(target=register, args=(f"thread{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert masker.mask("thread0-00000 thread3-00199") == "*** ***"
