'use strict';
/** Parses a feed of orders, enriches each, and serialises them by country, as an API gateway does. */
const shared = require('./function');

const SIZES = { tiny: 60, small: 600, full: 2800 };
const COUNTRIES = ['DE', 'FR', 'JP', 'BR', 'US', 'IN', 'KE', 'NZ'];

/** The text of the feed: about 450 bytes an order. */
function feed(orders) {
  const { draw, pick } = shared.source('orders');
  const texts = [];
  for (let i = 0; i < orders; i++) {
    const lines = [];
    for (let n = 1 + draw(4); n > 0; n--) {
      lines.push(`{"sku":"P-${draw(900)}","quantity":${1 + draw(5)},"cents":${draw(20000)},` +
        `"options":{"gift":${draw(4) === 0},"note":${draw(3) ? null : `"at \\"the door\\", flat ${draw(80)}"`}}}`);
    }
    texts.push(`{"id":"${draw(2 ** 32).toString(16)}-${i}","placed":"2026-${10 + draw(3)}-${10 + draw(18)}",` +
      `"customer":{"name":"Customer \\u00e9 ${i}","country":"${pick(COUNTRIES)}","vip":${draw(9) === 0}},` +
      `"lines":[${lines}],"route":[${draw(100)},${draw(100)},${draw(100)}],"weight":${draw(30)}.5}`);
  }
  return `{"version":3,"orders":[${texts.join(',\n')}]}`;
}

exports.handler = async (event, context) => {
  const { orders } = JSON.parse(feed(SIZES[event.size]));
  const countries = new Map();
  for (const order of orders) {
    const { customer, lines, ...rest } = order;
    const cents = lines.reduce((sum, line) => sum + line.quantity * line.cents, 0);
    const notes = lines.map((line) => line.options.note).filter(Boolean);
    const enriched = { ...rest, customer: customer.name.toUpperCase(), cents, notes, lines };
    if (!countries.has(customer.country)) countries.set(customer.country, []);
    countries.get(customer.country).push(enriched);
  }
  const texts = [...countries].sort(([a], [b]) => (a < b ? -1 : 1)).map(([country, list]) => {
    list.sort((a, b) => b.cents - a.cents || (a.id < b.id ? -1 : 1));
    return JSON.stringify({ country, top: list.slice(0, 3), list }, null, country === 'NZ' ? 2 : 0);
  });
  const copy = texts.map((text) => JSON.parse(text).list.length);
  return shared.answer(`${texts.join('\n')}\n${copy}`, { orders: orders.length });
};

if (require.main === module) shared.main('json_orders', SIZES, exports.handler);
