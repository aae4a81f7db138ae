// Loaded before the wrapper's part: says on stderr how often it gives back, and what for.
const fs = require('fs');
const memento = require(process.env.MEMENTO_TEST_INDEX);
const { invocationEnd } = memento;
memento.invocationEnd = () => {
  invocationEnd();
  fs.writeSync(2, `gave back, ${memento.stats().node.heap_pages.kept} kept\n`);
};
