#!/usr/bin/env node
'use strict';
// `memento-run PROGRAM [ARGUMENT...]`: runs a program with memento preloaded, and ends as it does.
const { spawn } = require('child_process');
const os = require('os');
const { environment } = require('./index.js');

const words = process.argv.slice(2);
if (words[0] === '--') words.shift();
if (words.length === 0) {
  console.error('usage: memento-run PROGRAM [ARGUMENT...]');
  process.exit(125);
}
const child = spawn(words[0], words.slice(1), { stdio: 'inherit', env: environment() });
for (const signal of ['SIGHUP', 'SIGINT', 'SIGTERM', 'SIGUSR2']) process.on(signal, () => child.kill(signal));
child.on('error', (error) => {
  console.error(`memento: ${words[0]}: ${error.message}`);
  process.exit(error.code === 'ENOENT' ? 127 : 126);
});
child.on('exit', (code, signal) => process.exit(signal ? 128 + os.constants.signals[signal] : code));
