"""What the kernel's own pages look like."""

from __future__ import annotations

from html import escape

HTML = "text/html; charset=utf-8"

# The pages hold no script and load nothing: even text that came from a caller could do nothing in them.
PAGE_POLICY = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
}

_STYLE = """
:root{color-scheme:light dark;--ink:#1d2a26;--soft:#5b6b65;--line:#d9e2de;--leaf:#1f7a5a;--paper:#fbfdfc}
@media(prefers-color-scheme:dark){:root{--ink:#e6efeb;--soft:#9db0a8;--line:#2b3a35;--leaf:#6fd0a8;--paper:#111816}}
body{font:16px/1.6 system-ui,"PingFang SC","Noto Sans CJK SC",sans-serif;color:var(--ink);background:var(--paper);
max-width:60rem;margin:2.5rem auto;padding:0 1.2rem}
h1{font-size:1.7rem;margin:0 0 .2rem}h2{font-size:1.1rem;margin:2.2rem 0 .4rem;text-transform:capitalize}
p{margin:.3rem 0;color:var(--soft)}a{color:var(--leaf)}code{font:14px/1.7 ui-monospace,monospace}
details{border-top:1px solid var(--line);padding:.45rem 0}
summary{cursor:pointer;display:flex;gap:.8rem;flex-wrap:wrap;align-items:baseline}
.m{font:600 13px/1.8 ui-monospace,monospace;color:var(--leaf);min-width:4rem}.s{color:var(--soft)}
summary .s{margin-left:auto}.k{font-size:12px;color:var(--soft);border:1px solid var(--line);border-radius:4px;padding:0 .4rem}
table{border-collapse:collapse;margin:.5rem 0;width:100%;font-size:15px}
td,th{text-align:left;padding:.2rem .8rem .2rem 0;border-bottom:1px solid var(--line);vertical-align:top}
th{font-weight:600}td:first-child{white-space:nowrap;min-width:4rem}
""".strip()


def page(title: str, body: str) -> bytes:
    """A whole page. ``title`` is text, ``body`` is HTML."""
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{escape(title)}</title><style>{_STYLE}</style><h1>{escape(title)}</h1>{body}</html>"
    ).encode()
