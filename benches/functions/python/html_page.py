"""Renders a shop's catalogue page with a small template engine, as web frameworks carry one.

The template is compiled to a Python function at each invocation, as in a cold start; values are
escaped unless they are marked as markup.
"""
import html
import re

import function

SIZES = {"tiny": 20, "small": 1000, "full": 5000}

TEMPLATE = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ title }}</title></head>
<body><h1>{{ title }}</h1>
<p>{{ len(items) }} articles{% if sale %}, all on sale{% end %}</p>
<ul class="catalogue">
{% for item in items %}
  <li id="item-{{ item["id"] }}" class="{{ "out" if item["stock"] == 0 else "in" }}">
    <h2><a href="/item/{{ item["id"] }}?ref={{ item["ref"] }}">{{ item["name"] }}</a></h2>
    <p class="price">{{ "%d.%02d" % divmod(item["cents"], 100) }} EUR</p>
    {% if item["stock"] == 0 %}<em>sold out</em>{% else %}<b>{{ item["stock"] }} left</b>{% end %}
    <p>{{ item["text"] }}</p>
    <ol>{% for by, stars in item["reviews"] %}<li>{{ by }}: {{! stars }}</li>{% end %}</ol>
  </li>
{% end %}
</ul>
<footer>{{ footer }}</footer></body></html>
"""

TOKEN = re.compile(r"(\{\{.*?\}\}|\{%.*?%\})")


def compiled(template):
    """The template as a function from its values to text."""
    lines, depth = ["def render(escape, items, title, sale, footer):", " out = []", " put = out.append"], 1
    for token in TOKEN.split(template):
        pad = " " * depth
        if token.startswith("{{!"):
            lines.append("%sput(str(%s))" % (pad, token[3:-2].strip()))
        elif token.startswith("{{"):
            lines.append("%sput(escape(str(%s)))" % (pad, token[2:-2].strip()))
        elif token.startswith("{%"):
            word = token[2:-2].strip()
            if word == "end":
                depth -= 1
            elif word == "else":
                lines.append(" " * (depth - 1) + "else:")
            else:
                lines.append(pad + word + ":")
                depth += 1
        elif token:
            lines.append("%sput(%r)" % (pad, token))
    lines.append(' return "".join(out)')
    names = {}
    exec(compile("\n".join(lines), "<template>", "exec"), names)
    return names["render"]


def catalogue(count):
    """Articles with descriptions and reviews; some texts need escaping."""
    source = function.source("catalogue")
    draw, pick = source.randrange, source.choice
    nouns = ["lamp", "chair", "desk & drawer", "shelf <small>", "rug", 'clock "Anna"', "mirror", "vase"]
    words = "solid light oak with a warm & lasting finish made by hand in small series".split()
    return [{
        "id": i,
        "ref": "%x" % draw(1 << 40),
        "name": "%s no. %d" % (pick(nouns), draw(900)),
        "cents": 500 + draw(90000),
        "stock": draw(6),
        "text": " ".join(pick(words) for _ in range(12 + draw(20))),
        "reviews": [("user%d" % draw(5000), "&#9733;" * (1 + draw(5))) for _ in range(draw(5))],
    } for i in range(count)]


def handler(event, context):
    """Answers with the page's checksum."""
    items = catalogue(SIZES[event["size"]])
    page = compiled(TEMPLATE)(
        escape=html.escape, items=items, title="Autumn <catalogue>", sale=True, footer="© example")
    return function.answer(page, articles=len(items))


if __name__ == "__main__":
    function.main("html_page", SIZES, handler)
