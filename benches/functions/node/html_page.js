'use strict';
/**
 * Renders a shop's catalogue page with a small template engine, as web frameworks carry one. The
 * template is compiled to a JavaScript function at each invocation, as in a cold start; values are
 * escaped unless they are marked as markup.
 */
const shared = require('./function');

const SIZES = { tiny: 60, small: 1000, full: 5500 };

const TEMPLATE = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ title }}</title></head>
<body><h1>{{ title }}</h1>
<p>{{ items.length }} articles</p>
<ul class="catalogue">
{% for (const item of items) { %}
  <li id="item-{{ item.id }}" class="{{ item.stock ? 'in' : 'out' }}">
    <h2><a href="/item/{{ item.id }}?ref={{ item.ref }}">{{ item.name }}</a></h2>
    <p class="price">{{ (item.cents / 100).toFixed(2) }} EUR</p>
    {% if (item.stock === 0) { %}<em>sold out</em>{% } else { %}<b>{{ item.stock }} left</b>{% } %}
    <p>{{ item.text }}</p>
    <ol>{% for (const [by, stars] of item.reviews) { %}<li>{{ by }}: {{! stars }}</li>{% } %}</ol>
  </li>
{% } %}
</ul></body></html>
`;

const ENTITIES = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
const escaped = (value) => String(value).replace(/[&<>"']/g, (sign) => ENTITIES[sign]);

/** The template as a function from its values to text. */
function compiled(template) {
  const body = template.split(/(\{\{.*?\}\}|\{%.*?%\})/).map((token) => {
    if (token.startsWith('{{!')) return `out.push(String(${token.slice(3, -2)}));`;
    if (token.startsWith('{{')) return `out.push(escaped(${token.slice(2, -2)}));`;
    if (token.startsWith('{%')) return token.slice(2, -2);
    return `out.push(${JSON.stringify(token)});`;
  });
  return new Function('escaped', 'title', 'items', `const out = [];\n${body.join('\n')}\nreturn out.join('');`);
}

/** Articles with descriptions and reviews; some texts need escaping. */
function catalogue(count) {
  const { draw, pick } = shared.source('catalogue');
  const nouns = ['lamp', 'chair', 'desk & drawer', 'shelf <small>', 'rug', 'clock "Anna"', 'mirror', "vase 'Ida'"];
  const words = 'solid light oak with a warm & lasting finish made by hand in small series'.split(' ');
  return Array.from({ length: count }, (_, id) => ({
    id,
    ref: draw(2 ** 32).toString(36),
    name: `${pick(nouns)} no. ${draw(900)}`,
    cents: 500 + draw(90000),
    stock: draw(6),
    text: Array.from({ length: 8 + draw(12) }, () => pick(words)).join(' '),
    reviews: Array.from({ length: draw(4) }, () => [`user${draw(5000)}`, '&#9733;'.repeat(1 + draw(5))]),
  }));
}

exports.handler = async (event, context) => {
  const items = catalogue(SIZES[event.size]);
  const page = compiled(TEMPLATE)(escaped, 'Autumn <catalogue>', items);
  return shared.answer(page, { articles: items.length });
};

if (require.main === module) shared.main('html_page', SIZES, exports.handler);
