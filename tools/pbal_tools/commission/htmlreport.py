"""The report as one HTML file: no script, nothing loaded from elsewhere."""

import base64
import html
from typing import Any

from . import content
from .figures import survey_picture, transfer_picture, watch_picture

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1c1c1c; max-width: 62rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; margin: .6rem 0; font-size: .9rem; }
th, td { border: 1px solid #bbb; padding: .25rem .5rem; text-align: left; }
th { background: #f0f0ee; } img { max-width: 100%; height: auto; }
.verdict { display: inline-block; padding: .2rem .7rem; border: 2px solid; font-weight: 600; }
.passed { color: #22632a; } .open { color: #9a2a1f; }
footer { margin-top: 2rem; font-size: .8rem; color: #555; overflow-wrap: anywhere; }
@media print { h2 { break-after: avoid; } img, table { break-inside: avoid; } }
"""


def _table(rows: list[list[str]]) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
        for row in rows[1:]
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>\n"


def _picture(data: bytes | None, words: str) -> str:
    if data is None:
        return ""
    text = base64.b64encode(data).decode()
    return f'<img alt="{html.escape(words)}" src="data:image/png;base64,{text}">\n'


def page(report: dict[str, Any], data: dict[str, Any], public: str) -> str:
    """The whole page."""
    e = html.escape
    site = report["site"]
    verdict = "passed" if report["ok"] else "open"
    words = "Passed" if report["ok"] else f"{len(report['open'])} open points"
    out = [
        f"<!doctype html><html lang='en'><meta charset='utf-8'>"
        f"<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>Commissioning of site {site['id']}, bus {e(report['bus'])}</title>"
        f"<style>{_STYLE}</style>\n",
        f"<h1>Commissioning report: site {site['id']} {e(site['name'])}, bus {e(report['bus'])}"
        f"</h1>\n<p>{e(content.stamp(report['reported_s']))}"
        f"{' &middot; ' + e(report['crew']) if report['crew'] else ''}</p>\n"
        f"<p class='verdict {verdict}'>{words}</p>\n",
    ]
    if report["remarks"]:
        out.append(f"<p>{e(report['remarks'])}</p>\n")
    if report["open"]:
        out.append("<h2>Open points</h2>\n<ul>")
        out += [f"<li>home {e(words)}</li>" if words[0].isdigit() else f"<li>{e(words)}</li>"
                for words in report["open"]]  # fmt: skip
        out.append("</ul>\n")
    out.append("<h2>Homes</h2>\n" + _table(content.summary_rows(report)))
    out.append(
        "<p>Phases are named by the transformer's meter.</p>\n" if report["metered"] else
        "<p>No meter at the transformer: phases are named by one of the homes (see each home), so "
        "homes on the same phase have the same letter, which may be another one there.</p>\n"
    )  # fmt: skip
    if report["radio"]:
        out.append(f"<h2>The radio</h2>\n<p>{e(report['radio'])}</p>\n")
        out.append(_picture(survey_picture(data), "how well each home is heard"))
    for home in report["homes"]:
        out.append(f"<h2>Home {home['address']} {e(home['name'])}</h2>\n")
        out.append(
            f"<p>Node {e(home['eui'])}, board {e(home['board'] or '?')}, firmware "
            f"{e(home['version'] or '?')}{', marked fixed' if home['fixed'] else ''}. "
            f"{'Passed.' if home['ok'] else 'Open: ' + e('; '.join(home['open'])) + '.'}</p>\n"
        )
        if home["witnesses"]:
            lines = [content.witness_words(w) for w in home["witnesses"]]
            out.append("<ul>" + "".join(f"<li>{e(line)}</li>" for line in lines) + "</ul>\n")
        out.append(_picture(watch_picture(data, home["address"]), "voltages and powers watched"))
        if home["calibration"]:
            out.append(_table(content.calibration_rows(home)))
        if home["moves"]:
            out.append(_table(content.move_rows(home)))
            out.append(
                f"<p>Dwell {home['dwell_s']} s before the test, {home['dwell_after_s']} s read "
                "back after it.</p>\n"
            )
            out.append(f"<p>{e(content.load_words(home['load']))}</p>\n" if home["load"] else "")
        elif home["refused"]:
            out.append(f"<p>No transfer test: {e(home['refused'])}</p>\n")
        out.append(_picture(transfer_picture(data, home["address"]), "the transfer test"))
    out.append(
        f"<footer>Signed with Ed25519, public key {public}. Check it:<br><code>pbal commission "
        f"verify FOLDER --public {public}</code></footer></html>\n"
    )
    return "".join(out)
