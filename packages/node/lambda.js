'use strict';
// For `memento-wrapper`, by `node --require`: gives free memory back after each response of a Lambda runtime, because the
// process may be frozen from then on. The runtime's client posts responses by a native addon, which Node loads by
// `process.dlopen`; the two functions of it that end an invocation are replaced by ones that give back afterwards.
// Responses that are streamed, and clients without the addon, use Node's `http`.
const http = require('http');
const { invocationEnd } = require('./index.js');

const ENDS = /\/runtime\/invocation\/[^/]+\/(response|error)$/;
const api = process.env.AWS_LAMBDA_RUNTIME_API;

/** A function that does what `post` does, and then gives back. */
function thenGiveBack(post) {
  return function (...words) {
    try {
      return post.apply(this, words);
    } finally {
      invocationEnd();
    }
  };
}

/** Whether a request's options are those of an invocation's end. */
function isEnd(options) {
  if (!options || typeof options !== 'object' || !ENDS.test(options.path || options.pathname || '')) return false;
  const host = options.hostname || (options.host || '').split(':')[0];
  return api === `${host}:${options.port || 80}`;
}

if (api) {
  const { dlopen } = process;
  process.dlopen = function (module, ...words) {
    const result = dlopen.call(this, module, ...words);
    const client = module.exports;
    if (['next', 'done', 'error'].every((name) => typeof client?.[name] === 'function')) {
      module.exports = { ...client, done: thenGiveBack(client.done), error: thenGiveBack(client.error) };
    }
    return result;
  };
  const { request } = http;
  http.request = function (...words) {
    const made = request.apply(this, words);
    if (words.some(isEnd)) made.once('response', (response) => response.once('end', invocationEnd));
    return made;
  };
}
