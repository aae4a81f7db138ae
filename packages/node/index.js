'use strict';
/**
 * Memory management for functions that live for milliseconds, for Node.js.
 *
 * `npx memento-run node app.js` runs a program with memento preloaded. In a process that has it loaded, `stats()` says
 * what it serves and `invocationEnd()` gives free memory back; elsewhere the first is null and the second does nothing.
 */
const path = require('path');

const library = path.join(__dirname, 'lib', 'libmemento_all.so');

/** An environment, made of `base`, in which programs load memento. */
function environment(base = process.env) {
  const others = (base.LD_PRELOAD || '').split(/[ :]+/).filter(Boolean);
  return { ...base, LD_PRELOAD: [library, ...others.filter((other) => other !== library)].join(':') };
}

let addon;
try {
  addon = require('./memento.node');
} catch {
  // Without it a program can be run with memento, but not ask for anything.
  addon = { document: () => undefined, invocationEnd: () => undefined };
}

const parsed = (name) => {
  const text = addon.document(name);
  return text === undefined ? null : JSON.parse(text);
};

/** What memento holds and serves in this process, with V8's pages under `node`; null if it is not loaded. */
function stats() {
  const found = parsed('memento_stats_json');
  return found && { ...found, node: parsed('memento_node_stats_json') };
}

module.exports = { environment, invocationEnd: () => addon.invocationEnd(), library, stats };
