// Prints the resident KiB at the heap's largest, and after it was collected.
const fs = require('fs');
const resident = () => Number(/VmRSS:\s+(\d+)/.exec(fs.readFileSync('/proc/self/status', 'latin1'))[1]);
let rows = [];
for (let i = 0; i < 250000; i++) rows.push({ id: i, text: `row ${i}`, next: [i, i + 1] });
const full = resident();
rows = null;
for (let i = 0; i < 4; i++) global.gc();
console.log(full, resident());
