"""Pages in other languages: the catalogues are whole, and the pages hold nothing but them."""

import re
from html import unescape

import pytest
from rigs import people

from pbal_hq.portal import translate
from pbal_hq.portal.render import HERE
from pbal_hq.portal.tables import table_messages
from pbal_hq.portal.translate import Catalogue, chosen, messages, translated

OTHERS = [language for language in translate.LANGUAGES if language != "en"]


def wanted():
    out = set(table_messages())
    for template in sorted((HERE / "templates").glob("*.html")):
        out |= set(messages(template.read_text("utf-8")))
    return out


@pytest.mark.parametrize("language", OTHERS)
def test_every_message_is_translated(language):
    words = Catalogue.read(HERE / "languages" / f"{language}.po").words
    missing, left_over = wanted() - set(words), set(words) - wanted()
    assert not missing, f"put into {language}.po: {sorted(missing)}"
    assert not left_over, f"no page says any more: {sorted(left_over)}"
    for message, text in words.items():
        held = re.compile(r"{\d+}|%[ds]")
        assert set(held.findall(message)) == set(held.findall(text)), message
        assert not re.search(r'[<>"]|{{|{%', text), f"{message}: it would change the page"


def test_the_text_of_a_template_is_its_messages():
    source = (
        '<p class="a">Between {{ low }} and {{ high | figure("V") }} in {{ place }}.\n'
        '{% if x > 1 %}<b title="At {{ b }}">Open</b>{% endif %} {{ _("late") }} 7 %</p>'
    )
    assert messages(source) == ["late", "Between {0} and {1} in {2}.", "At {0}", "Open"]
    german = {
        "Between {0} and {1} in {2}.": "In {2} zwischen {0} und {1}.", "At {0}": "{0} dort",
        "Open": "Offen",
    }  # fmt: skip
    assert translated(source, lambda m: german.get(m, m)) == (
        '<p class="a">In {{ place }} zwischen {{ low }} und {{ high | figure("V") }}.\n'
        '{% if x > 1 %}<b title="{{ b }} dort">Offen</b>{% endif %} {{ _("late") }} 7 %</p>'
    )
    assert translated(source, lambda m: m) == source


def test_the_language_of_a_reader():
    assert chosen("ml", "hi") == "ml"
    assert chosen("", "ta-IN, hi-IN;q=0.8, en;q=0.5") == "hi"
    assert chosen("xx", "de") == "en"
    assert chosen("../../etc", "") == "en"


@pytest.mark.parametrize("language", OTHERS)
async def test_pages_speak_it(database_url, language):
    words = Catalogue.read(HERE / "languages" / f"{language}.po").words
    english = {m for m, text in words.items() if text != m and len(m) > 3 and "{" not in m}
    async with people.connected(database_url) as conn, people.portal(database_url) as client:
        fleet = await people.make(conn)
        await people.summaries(conn, fleet, "T1", windows=3)
        await people.alarm(conn, fleet, "T1")
        one = fleet.transformers["T1"]
        for name, paths in (
            ("engineer-whole", ("/", "/transformers", "/map", f"/transformers/{one}", "/alarms",
                                "/fleet", "/where-next", "/trends", "/alarms/1", "/commands",
                                "/reports", "/import", "/dead-letters", "/account")),
            ("administrator-whole", ("/users", "/audit")),
        ):  # fmt: skip
            _, access = await people.who(conn, name)
            client.cookies.set("__Host-pbal", access)
            for path in paths:
                got = await client.get(path, headers={"accept-language": f"{language}, en;q=0.5"})
                assert got.status_code == 200, path
                assert f'<html lang="{language}">' in got.text
                body = re.sub(r"<(time|code|option)\b.*?</\1>", "", got.text, flags=re.S)
                texts = {" ".join(unescape(t).split()) for t in re.findall(r">([^<]+)<", body)}
                assert not texts & english, path
        to = await client.get(f"/language/{language}?next=/alarms")
        assert (to.status_code, to.headers["location"]) == (303, "/alarms")
        assert f'lang="{language}"' in (await client.get("/login")).text
        assert (await client.get("/language/xx")).status_code == 404
        to = await client.get("/language/en?next=https://evil.test")
        assert to.headers["location"] == "/"
