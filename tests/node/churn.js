// A young generation that grows, and an old one that is collected while it does.
let kept = [];
let sum = 0;
for (let round = 0; round < 40; round++) {
  const rows = Array.from({ length: 3000 }, (_, i) => ({ id: i, text: `row ${i} of ${round}`, next: [i, i + 1] }));
  sum = (sum * 31 + rows.reduce((all, row) => all + row.text.length + row.next[1], 0)) % 1000003;
  kept.push(rows.slice(0, 500));
  if (kept.length > 6) kept = kept.slice(3);
}
console.log(sum, kept.length);
